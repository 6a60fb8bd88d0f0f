/** Looking into a zip file on a server without fetching it: its directory by one ranged request, an entry by another. */
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fromRandomAccessReaderPromise, RandomAccessReader, type Entry, type ZipFile } from 'yauzl';
import { UserError } from '../common/errors';
import { get, NetworkError, unreachable, withoutCredentials } from '../interop/network';

export interface RemoteZipOptions {
  /** The file's size. */
  bytes: number;
  signal?: AbortSignal | undefined;
}

/** Names and unpacked sizes of all entries. A UserError where the server does not do ranges, or it is no zip file. */
export async function listRemoteZip(url: string, options: RemoteZipOptions): Promise<{ name: string; bytes: number }[]> {
  return (await openRemoteZip(url, options)).entries.map(entry => ({ name: entry.fileName, bytes: entry.uncompressedSize }));
}

/** The text of the first entry whose name matches. */
export async function readRemoteEntry(url: string, { name, ...options }: RemoteZipOptions & { name: RegExp }): Promise<string> {
  const { zip, entries } = await openRemoteZip(url, options);
  const entry = entries.find(one => name.test(one.fileName));
  if (!entry) throw new UserError({ what: `this wheel has no ${name.source}`, where: withoutCredentials(url).url });
  return text(await zip.openReadStreamPromise(entry));
}

async function openRemoteZip(url: string, { bytes, signal }: RemoteZipOptions): Promise<{ zip: ZipFile; entries: Entry[] }> {
  const fetchRange = (start: number, end: number) => getRange(url, { start, end, signal });
  try {
    const start = await directoryStart(bytes, fetchRange);
    const reader = new RemoteReader({ start, bytes: await fetchRange(start, bytes) }, fetchRange);
    const zip = await fromRandomAccessReaderPromise(reader, bytes, { autoClose: false });
    const entries: Entry[] = [];
    for await (const entry of zip.eachEntry()) entries.push(entry);
    return { zip, entries };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof UserError) throw error;
    if (error instanceof NetworkError) throw unreachable(error);
    throw new UserError({ what: `this is no zip file: ${(error as Error).message}`, where: withoutCredentials(url).url, cause: error });
  }
}

const tailBytes = 66_000; // the end record lies within 65,557 bytes of the end
const endSignature = 0x06054b50;

/** Where the directory begins, from the record at the end of the file. */
async function directoryStart(bytes: number, fetchRange: FetchRange): Promise<number> {
  const tailStart = Math.max(0, bytes - tailBytes);
  const tail = await fetchRange(tailStart, bytes);
  for (let at = tail.length - 22; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== endSignature) continue;
    const offset = tail.readUInt32LE(at + 16);
    return offset === 0xffffffff ? tailStart : Math.min(offset, tailStart); // with zip64, records are fetched as they are read
  }
  throw new Error('it has no directory');
}

type FetchRange = (start: number, end: number) => Promise<Buffer>;

/** Serves the end of the file from memory and everything else from the server. */
class RemoteReader extends RandomAccessReader {
  constructor(private readonly tail: { start: number; bytes: Buffer }, private readonly fetchRange: FetchRange) {
    super();
  }

  override _readStreamForRange(start: number, end: number): Readable {
    const { start: from, bytes } = this.tail;
    if (start >= from) return Readable.from([bytes.subarray(start - from, end - from)]);
    const { fetchRange } = this;
    return Readable.from((async function* () { yield await fetchRange(start, end); })());
  }
}

/** Bytes `start` up to `end`. */
async function getRange(url: string, { start, end, signal }: { start: number; end: number; signal?: AbortSignal | undefined }): Promise<Buffer> {
  const response = await get(url, { headers: { range: `bytes=${start}-${end - 1}` }, signal });
  if (response.status !== 206) {
    await response.body?.cancel();
    throw new UserError({ what: `the server does not send parts of files (status ${response.status})`, where: withoutCredentials(url).url });
  }
  const bytes = Buffer.from(await response.arrayBuffer());
  if (bytes.length !== end - start) throw new UserError({ what: `the server sent ${bytes.length} bytes instead of ${end - start}`, where: withoutCredentials(url).url });
  return bytes;
}
