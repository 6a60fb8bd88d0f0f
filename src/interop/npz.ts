/** .npz, a zip of .npy arrays, as Google publishes its Vision Transformers. Arrays are read one by one, from the file. */
import zlib from 'node:zlib';
import type { Entry, ZipFile } from 'yauzl';
import { openPromise } from 'yauzl';
import { UserError } from '../common/errors';
import { npyHeaderBytes, parseNpyHeader, readNpyNumbers, type NpyHeader } from './npy';
import type { TensorFile } from './tensor-file';

/** Names of a zip's entries and a way to read them. */
export interface ZipReader {
  names: readonly string[];
  /** The first `limit` bytes of an entry, all when absent; UserError for a damaged one. */
  read(name: string, limit?: number): Promise<ArrayBuffer>;
  close(): void;
}

/** UserError for what is no zip or a damaged one. */
export async function openZip(file: string): Promise<ZipReader> {
  const zip = await openPromise(file, { autoClose: false }).catch((cause: unknown) => { throw damaged(file, cause); });
  try {
    const entries = await listEntries(zip, file);
    return {
      names: [...entries.keys()],
      read: (name, limit) => readEntry(zip, entries.get(name)!, { where: `${file} (${name})`, limit }),
      close: () => zip.close(),
    };
  } catch (error) {
    zip.close();
    throw error;
  }
}

/** `zip` is open and becomes the result's own. */
export async function openNpz(file: string, zip: ZipReader): Promise<TensorFile> {
  const headers = new Map<string, NpyHeader>();
  for (const name of zip.names) {
    if (name.endsWith('.npy')) headers.set(name.slice(0, -4), parseNpyHeader(new Uint8Array(await zip.read(name, npyHeaderBytes)), `${file} (${name})`));
  }
  return {
    path: file, metadata: {},
    tensors: new Map([...headers].map(([name, { dtype, shape }]) => [name, { dtype, shape }])),
    async read(name) {
      const header = headers.get(name), where = `${file} (${name}.npy)`;
      if (!header) throw new UserError({ what: `there is no array '${name}'`, where: file, remedy: `It has ${[...headers.keys()].slice(0, 5).join(', ') || 'no arrays'}.` });
      const { dataStart, dataBytes } = header;
      const bytes = await zip.read(`${name}.npy`, dataStart + dataBytes);
      if (bytes.byteLength < dataStart + dataBytes) throw new UserError({ what: `the array is truncated: ${dataBytes} bytes are needed`, where, remedy: 'Fetch the file again.' });
      return readNpyNumbers(bytes.slice(dataStart, dataStart + dataBytes), header, where);
    },
    close: () => Promise.resolve(zip.close()),
  };
}

/** Node.js has it from 20.15 on. */
const { crc32 } = zlib as { crc32?: (data: Uint8Array) => number };

async function listEntries(zip: ZipFile, file: string): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>();
  try {
    for await (const entry of zip.eachEntry()) entries.set(entry.fileName, entry);
  } catch (cause) {
    throw damaged(file, cause);
  }
  return entries;
}

async function readEntry(zip: ZipFile, entry: Entry, { where, limit = Infinity }: { where: string; limit?: number | undefined }): Promise<ArrayBuffer> {
  const out = new Uint8Array(Math.min(limit, entry.uncompressedSize));
  let done = 0;
  try {
    const stream = await zip.openReadStreamPromise(entry);
    for await (const chunk of stream) {
      const part = (chunk as Buffer).subarray(0, out.length - done);
      out.set(part, done);
      done += part.length;
      if (done === out.length && out.length < entry.uncompressedSize) break; // destroys the stream
    }
  } catch (cause) {
    throw damaged(where, cause);
  }
  if (done === entry.uncompressedSize && crc32 && crc32(out) !== entry.crc32) throw damaged(where, new Error('its checksum is wrong'));
  return out.buffer.slice(0, done);
}

function damaged(where: string, cause: unknown): UserError {
  return new UserError({ what: `the zip archive cannot be read (${(cause as Error).message})`, where, remedy: 'Check the path, or fetch the file again.', cause });
}
