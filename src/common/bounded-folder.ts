/** Keeps the files of a cache below a size: those that were not touched for the longest time go first. */
import fs from 'node:fs/promises';
import path from 'node:path';

export interface CacheFolder {
  root: string;
  /** Which files below the folder are the cache's; the others neither count nor go. Names are relative to it. */
  isCached(name: string): boolean;
}

export interface PruneOptions extends CacheFolder {
  /** What may stay. */
  maxBytes: number;
  /** Folders whose files stay whatever their age: they are in use. */
  keep?: readonly string[];
}

/** Resolves to the bytes that are left. What cannot be removed stays, and counts. */
export async function pruneFolder({ maxBytes, keep = [], ...cache }: PruneOptions): Promise<number> {
  const files = (await listFiles(cache)).sort((a, b) => a.used - b.used);
  let bytes = files.reduce((sum, { size }) => sum + size, 0);
  for (const { file, size } of files) {
    if (bytes <= maxBytes) break;
    if (keep.some(folder => file.startsWith(folder + path.sep))) continue;
    if (await remove(file)) bytes -= size;
  }
  return bytes;
}

/** Bytes of a cache. */
export async function folderBytes(cache: CacheFolder): Promise<number> {
  return (await listFiles(cache)).reduce((sum, { size }) => sum + size, 0);
}

interface CachedFile {
  file: string;
  size: number;
  /** Milliseconds since 1970. */
  used: number;
}

async function listFiles({ root, isCached }: CacheFolder): Promise<CachedFile[]> {
  const names = await fs.readdir(root, { recursive: true }).catch(() => []);
  const found = await Promise.all(names.filter(isCached).map(async (name): Promise<CachedFile | null> => {
    const file = path.join(root, name);
    const stat = await fs.stat(file).catch(() => null); // removed meanwhile
    return stat && { file, size: stat.size, used: stat.mtimeMs };
  }));
  return found.filter(entry => entry !== null);
}

async function remove(file: string): Promise<boolean> {
  try {
    await fs.rm(file, { force: true });
    return true;
  } catch {
    return false;
  }
}
