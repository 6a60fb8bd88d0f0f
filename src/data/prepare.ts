/** Before the first step: every image decoded once, into the cache, so that bad files show at once and epochs are quick. */
import path from 'node:path';
import { pruneFolder } from '../common/bounded-folder';
import { UserError } from '../common/errors';
import type { Sample } from '../common/trial';
import type { LoaderOptions } from './batch-protocol';
import { mapConcurrently } from './concurrency';
import { tryHashContents } from './content-hash';
import { decodeFile, type Pixels } from './decode';
import { isSegment, openSegmentCache, type SegmentCache } from './segment-cache';
import { canFit, fit } from './transforms';

export interface Prepared {
  /** Indices of the samples that can be used, in their order. */
  usable: number[];
  skipped: { path: string; reason: string }[];
  /** The image as the cache keeps it: the finished square, or with augmentation the original. Valid until the next call. */
  cached(sample: number): Pixels | undefined;
  /** The same, decoded again. */
  decode(sample: number): Promise<Pixels>;
  /** sha256 of a usable sample's file. */
  contentOf(sample: number): string;
}

/** Raised when decoding or resizing changes what it yields. */
export const imageVersion = 1;
/** What decoded images of all data sets may take on disk. */
const largestCacheBytes = (Number(process.env['PEFT_LAB_IMAGE_CACHE_GB']) || 32) * 1e9;
/** Originals up to this many times the square's size are kept decoded; larger ones are decoded anew each epoch. */
const largestOriginal = 8;

export async function prepareImages(options: LoaderOptions & { onProgress(done: number, total: number): void }): Promise<Prepared> {
  const { root, samples, imageSize, resize, augmentation, cacheFolder } = options;
  const original = augmentation.length > 0;
  const transform = original ? `original-${resize}-${imageSize}` : `${resize}-${imageSize}`;
  const images = path.join(cacheFolder, 'images');
  const cache = await openSegmentCache({ what: 'decoded images', folder: path.join(images, `v${imageVersion}-${transform}`) });
  const decode = async (sample: Sample) => {
    const image = await decodeFile(path.join(root, sample.path));
    if (!canFit(image, { imageSize, mode: resize })) throw tooLong(image, path.join(root, sample.path));
    return original ? image : fit(image, { imageSize, mode: resize });
  };
  try {
    const hashes = await tryHashContents({ root, paths: samples.map(sample => sample.path), cacheFolder });
    const keep = (image: Pixels) => image.data.length <= largestOriginal * 3 * imageSize ** 2 ? image : { width: image.width, height: image.height };
    const problems = await fillCache({ ...options, cache, hashes, make: async sample => keep(await decode(sample)) });
    await pruneFolder({ root: images, isCached: isSegment, maxBytes: largestCacheBytes });
    const usable = samples.map((_, i) => i).filter(i => !problems.has(i));
    if (!usable.length) throw new UserError({ what: 'none of the images can be used', where: root, remedy: problems.get(0)?.message });
    return {
      usable,
      skipped: [...problems].map(([i, error]) => ({ path: samples[i]!.path, reason: error.what })),
      cached(i) {
        const image = cache.read(hashes[i] as string);
        return image?.data.length ? image : undefined;
      },
      decode: i => decode(samples[i]!),
      contentOf: i => hashes[i] as string,
    };
  } catch (error) {
    await cache.close().catch(() => undefined);
    throw error;
  }
}

interface FillOptions extends Pick<LoaderOptions, 'samples' | 'onBadImage'> {
  cache: SegmentCache;
  hashes: readonly (string | UserError)[];
  make(sample: Sample): Promise<Pixels | Omit<Pixels, 'data'>>;
  onProgress(done: number, total: number): void;
}

/** Decodes what the cache lacks, each content once. Resolves to the samples that cannot be used, and why. */
async function fillCache({ samples, hashes, cache, make, onBadImage, onProgress }: FillOptions): Promise<Map<number, UserError>> {
  const problems = new Map<string, UserError>();
  const wanted = new Map<string, number>();
  samples.forEach((_, i) => { if (!wanted.has(keyOf(hashes[i]!, i))) wanted.set(keyOf(hashes[i]!, i), i); });
  let done = 0;
  await mapConcurrently([...wanted], 4, async ([key, i]) => {
    const hash = hashes[i]!;
    const problem = hash instanceof UserError ? hash : cache.has(hash) ? undefined : await make(samples[i]!).then(image => cache.add(hash, image), onlyUserErrors);
    if (problem && onBadImage === 'stop') throw problem;
    if (problem) problems.set(key, problem);
    onProgress(++done, wanted.size);
  });
  await cache.flush();
  return new Map(samples.flatMap((_, i) => {
    const problem = problems.get(keyOf(hashes[i]!, i));
    return problem ? [[i, problem] as const] : [];
  }));
}

function keyOf(hash: string | UserError, sample: number): string {
  return hash instanceof UserError ? `#${sample}` : hash;
}

function onlyUserErrors(error: unknown): UserError {
  if (error instanceof UserError) return error;
  throw error;
}

function tooLong({ width, height }: Pixels, where: string): UserError {
  return new UserError({ what: `${width} x ${height} pixels are too long a shape to be cropped`, where, remedy: 'Cut the image, choose "resize": "stretch", or set "onBadImage": "skip" for its data set.' });
}
