/** safetensors files: read by header and byte range, without a copy of the whole; written so that equal content is equal bytes. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';
import { bfloatToFloat, floatToBfloat, floatToHalf, halfToFloat } from './half';
import { elementBytes, headerLength, malformed, parseHeader, type TensorEntry } from './safetensors-header';

export interface SafetensorsFile {
  path: string;
  metadata: Record<string, string>;
  tensors: ReadonlyMap<string, TensorEntry>;
  /** Floating point of 16 to 64 bits as float32; UserError for another dtype or name. */
  read(name: string): Promise<Float32Array>;
  /** The bytes as they are in the file. */
  readRaw(name: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Reads and checks the header; UserError naming file, tensor and reason when the file is malformed. */
export async function openSafetensors(file: string): Promise<SafetensorsFile> {
  const handle = await openFile(file);
  try {
    const { metadata, tensors } = await readHeader(handle, file);
    const readRaw = async (name: string) => new Uint8Array(await readRange(handle, file, findEntry(file, tensors, name)));
    return {
      path: file, metadata, tensors, readRaw,
      async read(name) {
        const entry = findEntry(file, tensors, name);
        const convert = toFloat[entry.dtype];
        if (!convert) throw wrongDtype(file, name, entry.dtype);
        return convert(await readRange(handle, file, entry));
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

export interface TensorToWrite {
  shape: readonly number[];
  /** Numbers of the dtype, or float32 to be rounded to F16 or BF16; bytes are written as they are. */
  data: Float32Array | Uint8Array | Int32Array;
  /** F32, U8 or I32 after the array's type when absent. */
  dtype?: 'F32' | 'F16' | 'BF16' | 'I32' | 'U8' | 'BOOL';
}

/** Writes under a temporary name, then renames: readers see the old file or the new one. Equal input gives equal bytes. */
export async function writeSafetensors(
  file: string, tensors: Record<string, TensorToWrite>, metadata: Record<string, string> = {},
): Promise<void> {
  const parts = Object.entries(tensors).map(([name, tensor]) => encode(name, tensor)).sort(byElementThenName);
  const temporary = `${file}.${randomUUID().slice(0, 8)}.tmp`;
  const handle = await fs.open(temporary, 'wx');
  try {
    await writeAll(handle, [encodeHeader(parts, metadata), ...parts.map(part => part.bytes)]);
    await handle.sync();
    await handle.close();
    await replaceFile(temporary, file);
  } catch (error) {
    await handle.close().catch(() => undefined);
    await fs.rm(temporary, { force: true });
    throw error;
  }
}

async function openFile(file: string): Promise<fs.FileHandle> {
  try {
    return await fs.open(file, 'r');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new UserError({
      what: code === 'ENOENT' ? 'there is no such file' : `the file does not open (${message})`,
      where: file, remedy: 'Check the path and its permissions.', cause,
    });
  }
}

async function readHeader(handle: fs.FileHandle, file: string) {
  const stat = await handle.stat();
  if (!stat.isFile()) throw new UserError({ what: 'a safetensors file is expected here, and this is none', where: file, remedy: 'Name the file itself, not its folder.' });
  const fileBytes = stat.size;
  const first = new Uint8Array(await readRange(handle, file, { start: 0, end: Math.min(8, fileBytes) }));
  const length = headerLength(first, { file, fileBytes });
  const bytes = new Uint8Array(await readRange(handle, file, { start: 8, end: 8 + length }));
  return parseHeader({ file, fileBytes, bytes });
}

async function readRange(handle: fs.FileHandle, file: string, { start, end }: { start: number; end: number }): Promise<ArrayBuffer> {
  const buffer = new ArrayBuffer(end - start);
  const bytes = new Uint8Array(buffer);
  for (let done = 0; done < bytes.length;) {
    // One call reads less than 2 GiB.
    const { bytesRead } = await handle.read(bytes, done, Math.min(bytes.length - done, 2 ** 30), start + done);
    if (bytesRead === 0) throw malformed(file, 'the file became shorter while it was read');
    done += bytesRead;
  }
  return buffer;
}

function findEntry(file: string, tensors: ReadonlyMap<string, TensorEntry>, name: string): TensorEntry {
  const entry = tensors.get(name);
  if (entry) return entry;
  throw new UserError({
    what: `there is no tensor '${name}'`, where: file,
    remedy: `It has ${[...tensors.keys()].slice(0, 5).join(', ') || 'no tensors'}${tensors.size > 5 ? ', ...' : ''}.`,
  });
}

function wrongDtype(file: string, name: string, dtype: string): UserError {
  return new UserError({
    what: `numbers of dtype F64, F32, F16 or BF16 are needed, and these are ${dtype}`,
    where: `${file} (tensor '${name}')`, remedy: 'Save the tensor as float32 or float16.',
  });
}

/** Node runs on little-endian machines only, as the format is: the bytes are the numbers. */
const toFloat: Record<string, (buffer: ArrayBuffer) => Float32Array> = {
  F64: buffer => Float32Array.from(new Float64Array(buffer)),
  F32: buffer => new Float32Array(buffer),
  F16: buffer => halfToFloat(new Uint16Array(buffer)),
  BF16: buffer => bfloatToFloat(new Uint16Array(buffer)),
};

interface EncodedTensor {
  name: string;
  dtype: string;
  shape: readonly number[];
  bytes: Uint8Array;
}

function encode(name: string, { shape, data, dtype = dtypeOf(data) }: TensorToWrite): EncodedTensor {
  const bytes = bytesOf(data instanceof Float32Array && dtype === 'F16' ? floatToHalf(data)
    : data instanceof Float32Array && dtype === 'BF16' ? floatToBfloat(data) : data);
  const expected = shape.reduce((product, side) => product * side, elementBytes[dtype]!);
  if (bytes.length !== expected) throw new Error(`tensor '${name}': ${bytes.length} bytes for ${dtype} [${shape.join(', ')}]`);
  if (name === '__metadata__') throw new Error('no tensor may be called __metadata__');
  return { name, dtype, shape, bytes };
}

function dtypeOf(data: TensorToWrite['data']): NonNullable<TensorToWrite['dtype']> {
  return data instanceof Float32Array ? 'F32' : data instanceof Int32Array ? 'I32' : 'U8';
}

function bytesOf(data: Float32Array | Uint8Array | Uint16Array | Int32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Wide elements first, so that every tensor is aligned to its element; the order of the format's own writer. */
function byElementThenName(a: EncodedTensor, b: EncodedTensor): number {
  return elementBytes[b.dtype]! - elementBytes[a.dtype]! || (a.name < b.name ? -1 : 1);
}

function encodeHeader(parts: EncodedTensor[], metadata: Record<string, string>): Uint8Array {
  const entries: [string, unknown][] = [];
  if (Object.keys(metadata).length) entries.push(['__metadata__', Object.fromEntries(Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1)))]);
  let offset = 0;
  for (const { name, dtype, shape, bytes } of parts) {
    entries.push([name, { dtype, shape, data_offsets: [offset, offset + bytes.length] }]);
    offset += bytes.length;
  }
  // Built by hand: an object would move names such as '7' to the front.
  const text = `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const json = Buffer.from(text, 'utf8');
  const padded = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}

async function writeAll(handle: fs.FileHandle, chunks: Uint8Array[]): Promise<void> {
  for (const chunk of chunks) {
    for (let done = 0; done < chunk.length;) {
      done += (await handle.write(chunk, done, Math.min(chunk.length - done, 2 ** 30))).bytesWritten;
    }
  }
}
