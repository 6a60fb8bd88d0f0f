/**
 * Decoded images on disk, by content hash, so that no epoch decodes twice. A folder holds one transform's images in
 * segments: pixels end to end, then an index, then a footer. A segment gets its name when it is whole, so a crash
 * leaves nothing half; processes write segments of their own, so they need no lock. What is damaged reads as absent.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';
import type { Pixels } from './decode';

export interface ImageCache {
  has(key: string): boolean;
  /** Undefined where it is absent or damaged; no data where only the size was kept. Valid until the next read. */
  read(key: string): Pixels | undefined;
  /** Appends an image; without data only that it was whole and how large. Readable after `flush`. */
  add(key: string, image: Pixels | Omit<Pixels, 'data'>): Promise<void>;
  /** Completes the segment being written. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface ImageCacheOptions {
  /** One transform's own folder. */
  folder: string;
  /** A segment is completed at this size; a crash loses at most the one being written. */
  segmentBytes?: number | undefined;
}

export async function openImageCache({ folder, segmentBytes = 256 * 2 ** 20 }: ImageCacheOptions): Promise<ImageCache> {
  await guard(folder, () => fs.promises.mkdir(folder, { recursive: true }));
  const places = new Map<string, Place>();
  for (const file of await segmentFiles(folder)) for (const place of readIndex(file)) places.set(place.key, place);
  const descriptors = new Map<string, number>();
  let scratch = new Uint8Array(0);
  let writer: Writer | undefined;
  let queue: Promise<void> = Promise.resolve(), closed = false;

  const inTurn = (task: () => Promise<void>) => queue = queue.then(() => guard(folder, task));
  const seal = async () => {
    if (!writer) return;
    const finished = writer;
    writer = undefined;
    for (const place of await finished.finish()) places.set(place.key, place);
  };
  return {
    has: key => places.has(key),
    read(key) {
      const place = places.get(key);
      if (!place) return undefined;
      if (scratch.length < place.length) scratch = new Uint8Array(place.length);
      const data = scratch.subarray(0, place.length);
      if (readAt(descriptors, place, data)) return { data, width: place.width, height: place.height };
      places.delete(key);
      return undefined;
    },
    add: (key, image) => inTurn(async () => {
      if (closed) return;
      writer ??= await openWriter(folder);
      if (await writer.append(key, image) >= segmentBytes) await seal();
    }),
    flush: () => inTurn(seal),
    async close() {
      closed = true;
      await inTurn(seal).finally(() => {
        for (const descriptor of descriptors.values()) fs.closeSync(descriptor);
        descriptors.clear();
      });
    },
  };
}

interface Place {
  key: string;
  file: string;
  offset: number;
  length: number;
  width: number;
  height: number;
  checksum: number;
}

const suffix = '.images';
const magic = 0x31434c50; // "PLC1"
const footerBytes = 12; // magic, bytes of the index, checksum of the index

async function segmentFiles(folder: string): Promise<string[]> {
  const names = (await fs.promises.readdir(folder)).sort();
  await Promise.all(names.filter(name => name.endsWith('.tmp')).map(name => removeAbandoned(path.join(folder, name))));
  return names.filter(name => name.endsWith(suffix)).map(name => path.join(folder, name));
}

/** What a process that was killed left behind; a living one writes to its file more often than once a day. */
async function removeAbandoned(file: string): Promise<void> {
  const stat = await fs.promises.stat(file).catch(() => undefined);
  if (stat && Date.now() - stat.mtimeMs > 24 * 3600_000) await fs.promises.rm(file, { force: true }).catch(() => undefined);
}

/** The images of a segment; none where it is damaged, and then the file goes, to be made again. */
function readIndex(file: string): Place[] {
  try {
    const descriptor = fs.openSync(file, 'r');
    try {
      return parseIndex(file, descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  } catch {
    try { fs.rmSync(file, { force: true }); } catch { /* another process has it open: its turn to remove it */ }
    return [];
  }
}

function parseIndex(file: string, descriptor: number): Place[] {
  const size = fs.fstatSync(descriptor).size;
  const footer = readExactly(descriptor, { offset: size - footerBytes, length: footerBytes });
  if (footer.readUInt32LE(0) !== magic) throw new Error('no footer');
  const length = footer.readUInt32LE(4), end = size - footerBytes - length;
  const index = readExactly(descriptor, { offset: end, length });
  if (checksum(index) !== footer.readUInt32LE(8)) throw new Error('damaged index');
  const rows = JSON.parse(index.toString()) as [string, number, number, number, number, number][];
  return rows.map(([key, offset, length, width, height, sum]) => ({ key, file, offset, length, width, height, checksum: sum }));
}

function readExactly(descriptor: number, { offset, length }: { offset: number; length: number }): Buffer {
  if (offset < 0) throw new Error('truncated');
  const bytes = Buffer.alloc(length);
  if (fs.readSync(descriptor, bytes, 0, length, offset) !== length) throw new Error('truncated');
  return bytes;
}

function readAt(descriptors: Map<string, number>, place: Place, into: Uint8Array): boolean {
  try {
    let descriptor = descriptors.get(place.file);
    if (descriptor === undefined) descriptors.set(place.file, descriptor = fs.openSync(place.file, 'r'));
    return fs.readSync(descriptor, into, 0, place.length, place.offset) === place.length && checksum(into) === place.checksum;
  } catch {
    return false;
  }
}

interface Writer {
  /** Resolves to the bytes written so far. */
  append(key: string, image: Pixels | Omit<Pixels, 'data'>): Promise<number>;
  /** Writes the index and gives the file its name. */
  finish(): Promise<Place[]>;
}

async function openWriter(folder: string): Promise<Writer> {
  const file = path.join(folder, `${randomUUID()}${suffix}`), temporary = `${file}.tmp`;
  const handle = await fs.promises.open(temporary, 'wx');
  const places: Place[] = [];
  let offset = 0;
  // On an error (a full disk) nothing may stay behind: what is there is of no use.
  const orRemove = async <T>(task: () => Promise<T>): Promise<T> => {
    try {
      return await task();
    } catch (error) {
      await handle.close().catch(() => undefined);
      await fs.promises.rm(temporary, { force: true }).catch(() => undefined);
      throw error;
    }
  };
  return {
    append: (key, image) => orRemove(async () => {
      const data = 'data' in image ? image.data : new Uint8Array(0);
      await writeAll(handle, data, offset);
      places.push({ key, file, offset, length: data.length, width: image.width, height: image.height, checksum: checksum(data) });
      return offset += data.length;
    }),
    finish: () => orRemove(async () => {
      const index = Buffer.from(JSON.stringify(places.map(p => [p.key, p.offset, p.length, p.width, p.height, p.checksum])));
      const footer = Buffer.alloc(footerBytes);
      footer.writeUInt32LE(magic, 0);
      footer.writeUInt32LE(index.length, 4);
      footer.writeUInt32LE(checksum(index), 8);
      await writeAll(handle, Buffer.concat([index, footer]), offset);
      await handle.close();
      await replaceFile(temporary, file);
      return places;
    }),
  };
}

async function writeAll(handle: fs.promises.FileHandle, data: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < data.length;) done += (await handle.write(data, done, data.length - done, position + done)).bytesWritten;
}

/** 32 bits over the words of the data: quick, and enough to notice a torn or zeroed file. */
function checksum(data: Uint8Array): number {
  const aligned = data.byteOffset % 4 === 0 ? data : Uint8Array.from(data);
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 2);
  let sum = data.length | 0;
  for (const word of words) sum = mixIn(sum, word);
  for (let i = words.length * 4; i < data.length; i++) sum = mixIn(sum, data[i]!);
  return sum >>> 0;
}

function mixIn(sum: number, word: number): number {
  const x = Math.imul(sum ^ word, 0x9e3779b1);
  return (x << 15) | (x >>> 17);
}

async function guard<T>(folder: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    throw new UserError({ what: full ? 'the disk is full: the cache of decoded images cannot be written' : `the cache of decoded images cannot be written (${code})`, where: folder, remedy: full ? 'Free some space there and run again; finished work is kept.' : 'Choose another folder for the cache, or correct its permissions.', cause: error });
  }
}
