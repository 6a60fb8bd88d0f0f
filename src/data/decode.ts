/**
 * Image files to 8-bit RGB, with the pixels that Pillow's `Image.open(f).convert('RGB')` gives: alpha is dropped, not
 * blended; colour profiles and EXIF orientation are not applied (torchvision does neither). The one difference is
 * 16-bit grey, of which Pillow keeps the low values and clips the rest to white; here the high byte is taken, as both
 * do for 16-bit colour.
 */
import fs from 'node:fs/promises';
import sharp, { type Sharp } from 'sharp';
import { UserError } from '../common/errors';
import { decodeBitmap } from './bitmap';

/** 8-bit RGB, row-major: [height, width, 3]. */
export interface Pixels {
  data: Uint8Array;
  width: number;
  height: number;
}

/** What sharp may decode; others it knows (SVG, PDF) are drawings or documents and never a photograph by mistake. */
const formats = new Set(['jpeg', 'png', 'webp', 'gif', 'tiff', 'heif']);

// Many small images: one thread each, and no cache of what is read once.
sharp.concurrency(1);
sharp.cache(false);

/** Decodes a file. Anything that is not a whole image is a UserError that names the path. */
export async function decodeFile(file: string): Promise<Pixels> {
  let bytes: Buffer;
  try {
    bytes = await fs.readFile(file);
  } catch (error) {
    throw new UserError({ what: `the image cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'})`, where: file, remedy: 'Restore the file, or remove it from the data set.', cause: error });
  }
  return decode(bytes, file);
}

/** Decodes a file's contents; `where` is the path that errors name. */
export async function decode(bytes: Buffer, where: string): Promise<Pixels> {
  if (bytes.length === 0) throw badImage(where, 'the image file is empty');
  try {
    const bitmap = decodeBitmap(bytes);
    if (bitmap) return bitmap;
    const image = sharp(bytes, { failOn: 'error', ignoreIcc: true });
    const { format, space } = await image.metadata();
    if (!formats.has(format)) throw new Error(`${format} is not a format of photographs`);
    return space === 'cmyk' ? await fromCmyk(image) : await fromAny(image);
  } catch (error) {
    throw badImage(where, `not a readable image (${reason(error)})`, error);
  }
}

async function fromAny(image: Sharp): Promise<Pixels> {
  const { data, info } = await image.removeAlpha().toColourspace('srgb').raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  const pixels = { width: info.width, height: info.height };
  if (info.channels === 3) return { ...pixels, data: new Uint8Array(data.buffer, data.byteOffset, data.length) };
  if (info.channels !== 1) throw new Error(`${info.channels} colour channels`);
  return { ...pixels, data: Uint8Array.from({ length: data.length * 3 }, (_, i) => data[(i / 3) | 0]!) };
}

/** As Pillow converts: no colour profile, each ink darkens on its own. */
async function fromCmyk(image: Sharp): Promise<Pixels> {
  const { data, info } = await image.pipelineColourspace('cmyk').toColourspace('cmyk').raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  const out = new Uint8Array(info.width * info.height * 3);
  for (let i = 0; i < info.width * info.height; i++) {
    const light = 255 - data[i * info.channels + 3]!;
    for (let c = 0; c < 3; c++) out[i * 3 + c] = light - multiply(data[i * info.channels + c]!, light);
  }
  return { data: out, width: info.width, height: info.height };
}

/** a * b / 255, rounded, in integers. */
function multiply(a: number, b: number): number {
  const product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

function reason(error: unknown): string {
  const first = error instanceof Error ? error.message.split('\n')[0]!.trim() : String(error);
  return first.includes('unsupported image format') ? 'its contents are no known image format' : first;
}

function badImage(where: string, what: string, cause?: unknown): UserError {
  return new UserError({ what, where, remedy: 'Replace or remove the file, or set "onBadImage": "skip" for its data set to leave such files out.', cause });
}
