/** What the files contain, as sha256; remembered by path, size and time of change so that only new files are read. */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import { replaceFile } from '../common/replace-file';
import { mapConcurrently } from './concurrency';

export interface HashOptions {
  root: string;
  /** Relative to the root. */
  paths: readonly string[];
  cacheFolder: string;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** The hash of each file's contents, in the order of the paths; a UserError for the first that cannot be read. */
export async function hashContents(options: HashOptions): Promise<string[]> {
  return (await tryHashContents(options)).map(result => {
    if (result instanceof UserError) throw result;
    return result;
  });
}

/** The same with an error in the place of each file that cannot be read. */
export async function tryHashContents({ root, paths, cacheFolder, onProgress }: HashOptions): Promise<(string | UserError)[]> {
  const file = path.join(cacheFolder, 'content-hashes', `${sha256(root).slice(0, 24)}.json`);
  const memory = await readMemory(file);
  let done = 0, learned = 0;
  const hashes = await mapConcurrently(paths, 16, async relative => {
    const result = await hashFile(path.join(root, relative), memory.get(relative));
    onProgress?.(++done, paths.length);
    if (result instanceof UserError) return result;
    if (result.entry) {
      memory.set(relative, result.entry);
      learned++;
    }
    return result.hash;
  });
  if (learned) await writeMemory(file, memory);
  return hashes;
}

export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** [size in bytes, time of change in ms, hash] */
type Entry = readonly [number, number, string];

/** A file changed this recently may change again within the clock's tick; its hash is not remembered. */
const settledMs = 2000;

async function hashFile(file: string, known: Entry | undefined): Promise<{ hash: string; entry?: Entry } | UserError> {
  try {
    const { size, mtimeMs } = await fs.stat(file);
    if (known?.[0] === size && known[1] === mtimeMs) return { hash: known[2] };
    const hash = sha256(await fs.readFile(file));
    return Date.now() - mtimeMs > settledMs ? { hash, entry: [size, mtimeMs, hash] } : { hash };
  } catch (error) {
    return new UserError({ what: `the image cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'})`, where: file, remedy: 'Restore the file or its permissions, or remove it from the data set.', cause: error });
  }
}

/** What is unreadable or torn is simply not remembered. */
async function readMemory(file: string): Promise<Map<string, Entry>> {
  try {
    const entries = Object.entries(JSON.parse(await fs.readFile(file, 'utf8')) as Record<string, unknown>);
    return new Map(entries.filter((pair): pair is [string, Entry] => isEntry(pair[1])));
  } catch {
    return new Map();
  }
}

function isEntry(value: unknown): value is Entry {
  return Array.isArray(value) && typeof value[0] === 'number' && typeof value[1] === 'number' && typeof value[2] === 'string' && /^[0-9a-f]{64}$/.test(value[2]);
}

/** Of processes that write at once the last one stays; the others' files are hashed again one day. */
async function writeMemory(file: string, memory: Map<string, Entry>): Promise<void> {
  const temporary = `${file}.${process.pid}.${Date.now()}.tmp`;
  try {
    await fs.mkdir(path.dirname(file), { recursive: true });
    await fs.writeFile(temporary, JSON.stringify(Object.fromEntries(memory)));
    await replaceFile(temporary, file);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw new UserError({ what: `the cache cannot be written (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'})`, where: file, remedy: 'Free some space there, or choose another folder for the cache.', cause: error });
  }
}
