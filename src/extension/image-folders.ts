/** Looks for what could be a data set below a folder: guesses by names alone, quick, and never fails. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { imageEndings, splitFolders } from '../common/image-names';

export interface ImageFolder {
  /** Absolute: a folder, or a CSV file. */
  path: string;
  /** Images seen, at least. */
  images: number;
  kind: 'folders' | 'lists' | 'csv';
}

const splitNames = new Set(Object.values(splitFolders).flat());
const listFiles = new Set(splitFolders.train.map(name => `${name}.txt`));
const skipped = /^(\.|node_modules$)|\.peft$/;
const mostFolders = 4000;
const deepest = 6;

/** Largest first. */
export async function findImageFolders(top: string): Promise<ImageFolder[]> {
  const found = new Map<string, ImageFolder>();
  const add = (file: string, kind: ImageFolder['kind'], images: number) => {
    const known = found.get(file);
    found.set(file, { path: file, kind: known?.kind ?? kind, images: images + (known?.images ?? 0) });
  };
  const queue = [{ folder: top, depth: 0 }];
  const lists = new Set<string>();
  for (let next = queue.shift(), seen = 0; next && seen < mostFolders; next = queue.shift(), seen++) {
    const { folder, depth } = next;
    const entries = await fs.readdir(folder, { withFileTypes: true }).catch(() => []);
    const images = entries.filter(entry => entry.isFile() && isImage(entry.name)).length;
    if (entries.some(entry => entry.isFile() && listFiles.has(entry.name))) lists.add(folder);
    for (const entry of entries) if (entry.isFile() && /\.csv$/i.test(entry.name) && await isManifest(path.join(folder, entry.name))) add(path.join(folder, entry.name), 'csv', 0);
    const listed = [...lists].find(list => folder.startsWith(list + path.sep));
    if (images > 0 && listed) add(listed, 'lists', images);
    else if (images > 0 && folder !== top) add(dataSetOf(folder), 'folders', images);
    if (depth < deepest) queue.push(...entries.filter(entry => entry.isDirectory() && !skipped.test(entry.name)).map(entry => ({ folder: path.join(folder, entry.name), depth: depth + 1 })));
  }
  return [...found.values()].filter(({ path: file }) => isBelow(file, top)).sort((a, b) => b.images - a.images);
}

function isImage(name: string): boolean {
  return !name.startsWith('.') && imageEndings.has(path.extname(name).toLowerCase());
}

/** Images lie in <data set>/<class> or <data set>/<split>/<class>. */
function dataSetOf(classFolder: string): string {
  const parent = path.dirname(classFolder);
  return splitNames.has(path.basename(parent)) ? path.dirname(parent) : parent;
}

function isBelow(file: string, top: string): boolean {
  return !path.relative(top, file).startsWith('..');
}

/** A CSV file with columns path and label, whatever parts them. */
async function isManifest(file: string): Promise<boolean> {
  try {
    const handle = await fs.open(file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(1024), 0, 1024, 0);
      const header = buffer.subarray(0, bytesRead).toString('utf8').replace(/^\ufeff/, '').split(/\r?\n/, 1)[0]!;
      const columns = header.split(/[,;\t]/).map(name => name.trim().replaceAll('"', ''));
      return columns.includes('path') && columns.includes('label');
    } finally {
      await handle.close();
    }
  } catch {
    return false;
  }
}
