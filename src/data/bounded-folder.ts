/** Keeps the caches of segments below a size: those that were not of use for the longest time go first. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { isSegment } from './segment-cache';

export interface PruneOptions {
  /** Every segment below it counts. */
  root: string;
  /** What may stay. */
  maxBytes: number;
  /** Folders whose segments stay whatever their age: they are in use. */
  keep: readonly string[];
}

/** Resolves to the bytes that are left. What cannot be removed stays, and counts. */
export async function pruneFolder({ root, maxBytes, keep }: PruneOptions): Promise<number> {
  const files = (await listSegments(root)).sort((a, b) => a.used - b.used);
  let bytes = files.reduce((sum, { size }) => sum + size, 0);
  for (const { file, size } of files) {
    if (bytes <= maxBytes) break;
    if (keep.some(folder => file.startsWith(folder + path.sep))) continue;
    if (await remove(file)) bytes -= size;
  }
  return bytes;
}

/** Bytes of all segments below a folder. */
export async function folderBytes(root: string): Promise<number> {
  return (await listSegments(root)).reduce((sum, { size }) => sum + size, 0);
}

interface Segment {
  file: string;
  size: number;
  /** Milliseconds since 1970. */
  used: number;
}

async function listSegments(root: string): Promise<Segment[]> {
  const names = await fs.readdir(root, { recursive: true }).catch(() => []);
  const found = await Promise.all(names.filter(isSegment).map(async (name): Promise<Segment | null> => {
    const file = path.join(root, name);
    const stat = await fs.stat(file).catch(() => null); // removed meanwhile
    return stat && { file, size: stat.size, used: stat.mtimeMs };
  }));
  return found.filter(segment => segment !== null);
}

async function remove(file: string): Promise<boolean> {
  try {
    await fs.rm(file, { force: true });
    return true;
  } catch {
    return false;
  }
}
