/**
 * Records on disk by key, such as decoded images by content hash. A folder holds segments: records end to end, then an
 * index, then a footer. A segment gets its name when it is whole, so a crash leaves nothing half; processes write segments
 * of their own, so they need no lock. What is damaged reads as absent.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';

/** A matrix of bytes, or of what its owner makes of them. */
export interface StoredRecord {
  data: Uint8Array;
  width: number;
  height: number;
}

export interface SegmentCache {
  has(key: string): boolean;
  /** Undefined where it is absent or damaged; no data where only the size was kept. Valid until the next read. */
  read(key: string): StoredRecord | undefined;
  /** Appends a record; without data only that it was whole and how large. Readable after `flush`. */
  add(key: string, record: StoredRecord | Omit<StoredRecord, 'data'>): Promise<void>;
  /** Completes the segment being written. */
  flush(): Promise<void>;
  /** Finds the segments that other processes completed since. */
  refresh(): Promise<void>;
  close(): Promise<void>;
}

export interface SegmentCacheOptions {
  /** For one kind of records alone. */
  folder: string;
  /** What is kept here, for messages: `decoded images`. */
  what: string;
  /** A segment is completed at this size; a crash loses at most the one being written. */
  segmentBytes?: number | undefined;
}

export async function openSegmentCache({ folder, what, segmentBytes = 256 * 2 ** 20 }: SegmentCacheOptions): Promise<SegmentCache> {
  const guarded = <T>(task: () => Promise<T>) => guard({ folder, what }, task);
  await guarded(() => fs.promises.mkdir(folder, { recursive: true }));
  const places = new Map<string, Place>();
  const known = new Set<string>();
  // Open from the first to the last moment: pruning may take the names of files that are still read.
  const descriptors = new Map<string, number>();
  let scratch = new Uint8Array(0);
  let writer: Writer | undefined;
  let queue: Promise<void> = Promise.resolve(), closed = false;

  const inTurn = (task: () => Promise<void>) => queue = queue.then(() => guarded(task));
  const find = async () => {
    const present = await segmentFiles(folder);
    for (const file of present.filter(one => !known.has(one))) {
      known.add(file);
      for (const place of openSegment(file, descriptors)) places.set(place.key, place);
    }
  };
  const seal = async () => {
    if (!writer) return;
    const finished = writer;
    writer = undefined;
    for (const place of await finished.finish()) places.set(place.key, place);
  };
  await guarded(find);
  return {
    has: key => places.has(key),
    read(key) {
      const place = places.get(key);
      if (!place) return undefined;
      if (scratch.length < place.length) scratch = new Uint8Array(place.length);
      const data = scratch.subarray(0, place.length);
      if (readAt(descriptors, place, data)) return { data, width: place.width, height: place.height };
      places.delete(key);
      removeSegment(place.file); // or the next process would find the damaged record before its new copy
      return undefined;
    },
    add: (key, record) => inTurn(async () => {
      if (closed) return;
      writer ??= await openWriter(folder);
      if (await writer.append(key, record) >= segmentBytes) await seal();
    }),
    flush: () => inTurn(seal),
    refresh: () => inTurn(find),
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

const suffix = '.segment';
const magic = 0x31434c50; // "PLC1"
const footerBytes = 12; // magic, bytes of the index, checksum of the index

async function segmentFiles(folder: string): Promise<string[]> {
  const names = (await fs.promises.readdir(folder)).sort();
  await Promise.all(names.filter(name => name.endsWith('.tmp')).map(name => removeAbandoned(path.join(folder, name))));
  return names.filter(isSegment).map(name => path.join(folder, name));
}

export function isSegment(name: string): boolean {
  return name.endsWith(suffix);
}

/** What a process that was killed left behind; a living one writes to its file more often than once a day. */
async function removeAbandoned(file: string): Promise<void> {
  const stat = await fs.promises.stat(file).catch(() => undefined);
  if (stat && Date.now() - stat.mtimeMs > 24 * 3600_000) await fs.promises.rm(file, { force: true }).catch(() => undefined);
}

/** The records of a segment; none where it is damaged, and then the file goes, to be made again. */
function openSegment(file: string, descriptors: Map<string, number>): Place[] {
  let descriptor: number;
  try {
    descriptor = fs.openSync(file, 'r');
  } catch {
    return []; // pruned this moment, or not ours to read
  }
  try {
    const places = parseIndex(file, descriptor);
    descriptors.set(file, descriptor);
    markUsed(file);
    return places;
  } catch {
    fs.closeSync(descriptor);
    removeSegment(file);
    return [];
  }
}

function removeSegment(file: string): void {
  try { fs.rmSync(file, { force: true }); } catch { /* another process has it open: its turn to remove it */ }
}

/** The time of change of a segment, which never changes, is when it was last of use: pruning takes the oldest. */
function markUsed(file: string): void {
  try {
    const now = new Date();
    fs.utimesSync(file, now, now);
  } catch { /* a cache that only others may write */ }
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
  append(key: string, record: StoredRecord | Omit<StoredRecord, 'data'>): Promise<number>;
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
    append: (key, record) => orRemove(async () => {
      const data = 'data' in record ? record.data : new Uint8Array(0);
      await writeAll(handle, data, offset);
      places.push({ key, file, offset, length: data.length, width: record.width, height: record.height, checksum: checksum(data) });
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

async function guard<T>({ folder, what }: { folder: string; what: string }, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    throw new UserError({ what: full ? `the disk is full: the cache of ${what} cannot be written` : `the cache of ${what} cannot be written (${code})`, where: folder, remedy: full ? 'Free some space there and run again; finished work is kept.' : 'Choose another folder for the cache, or correct its permissions.', cause: error });
  }
}
