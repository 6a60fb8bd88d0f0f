/** Taking files out of a wheel, which is a zip file. Nothing is written outside the folder given. */
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { openPromise, type Entry, type ZipFile } from 'yauzl';
import { UserError } from '../common/errors';
import { diskError } from './download';

export interface UnpackOptions {
  file: string;
  folder: string;
  /** Which entries are wanted. */
  keep(name: string): boolean;
  signal?: AbortSignal | undefined;
  /** Gets the share that is written, 0 to 1. */
  onProgress?: ((share: number) => void) | undefined;
}

/** Unpacks what is wanted, and resolves with the entries' names. A UserError for a damaged or malicious archive. */
export async function unpack({ file, folder, keep, signal, onProgress }: UnpackOptions): Promise<string[]> {
  const zip = await openPromise(file, { autoClose: false }).catch((cause: unknown) => { throw damaged(file, cause); });
  let written = 0;
  try {
    const wanted = (await listEntries(zip, file)).filter(({ fileName }) => !fileName.endsWith('/') && keep(fileName));
    const total = wanted.reduce((sum, entry) => sum + entry.uncompressedSize, 0);
    const onBytes = (bytes: number) => onProgress?.((written += bytes) / total);
    for (const entry of wanted) {
      signal?.throwIfAborted();
      refuseLink(entry, file);
      await extract(zip, entry, { target: safeTarget(folder, entry.fileName, file), file, signal, onBytes });
    }
    return wanted.map(({ fileName }) => fileName);
  } finally {
    zip.close();
  }
}

/** Reading the whole directory first refuses a bad archive before anything is written. */
async function listEntries(zip: ZipFile, file: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  try {
    for await (const entry of zip.eachEntry()) entries.push(entry); // refuses absolute names and `..` by itself
  } catch (error) {
    throw damaged(file, error);
  }
  entries.forEach(entry => safeTarget('/', entry.fileName, file));
  return entries;
}

function safeTarget(folder: string, name: string, file: string): string {
  const root = path.resolve(folder), target = path.resolve(root, name);
  const inside = path.relative(root, target);
  const isSafe = inside !== '' && !inside.startsWith('..') && !path.isAbsolute(inside) && !/[\0\\]/.test(name) && !/^[a-z]:/i.test(name);
  if (isSafe) return target;
  throw new UserError({ what: `it would write outside its folder (${JSON.stringify(name)})`, where: file, remedy: 'Do not use this file; report where it came from.' });
}

/** A link could lead a later entry out of the folder; wheels have none. */
function refuseLink(entry: Entry, file: string): void {
  const type = (entry.externalFileAttributes >>> 28) & 0xf;
  if (entry.versionMadeBy >>> 8 !== 3 || type === 0 || type === 8) return;
  throw new UserError({ what: `${JSON.stringify(entry.fileName)} is a link or a device`, where: file, remedy: 'Do not use this file; report where it came from.' });
}

interface ExtractOptions { target: string; file: string; signal: AbortSignal | undefined; onBytes(bytes: number): void }

async function extract(zip: ZipFile, entry: Entry, { target, file, signal, onBytes }: ExtractOptions): Promise<void> {
  const isExecutable = entry.versionMadeBy >>> 8 === 3 && ((entry.externalFileAttributes >>> 16) & 0o100) !== 0;
  await fs.promises.mkdir(path.dirname(target), { recursive: true });
  try {
    const source = await zip.openReadStreamPromise(entry);
    const counted = async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        onBytes(chunk.length);
        yield chunk;
      }
    };
    await pipeline(source, counted, fs.createWriteStream(target, { mode: isExecutable ? 0o755 : 0o644 }), { ...signal && { signal } });
  } catch (error) {
    signal?.throwIfAborted();
    const explained = diskError(error, target);
    throw explained instanceof UserError ? explained : damaged(file, error);
  }
}

function damaged(file: string, cause: unknown): UserError {
  return new UserError({ what: `this wheel cannot be read: ${(cause as Error).message}`, where: file, remedy: 'Run it again: the file is fetched anew.', cause });
}
