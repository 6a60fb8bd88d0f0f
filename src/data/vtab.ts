/** VTAB-1K's lists: train800.txt, val200.txt, test.txt, each line a path relative to the folder and a label. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import { dataRoot, relativePath } from './files';
import type { ListedImage, Listing, ReadOptions } from './listing';
import type { SplitName } from '../common/trial';

export async function readLists({ path: folder, splits }: ReadOptions): Promise<Listing> {
  const root = await dataRoot(folder, folder);
  const images: ListedImage[] = [];
  for (const { split, names } of splits) {
    const file = await findList(root, names);
    if (file) images.push(...await readList({ root, file, split }));
  }
  if (!images.length) throw noLists(folder, splits);
  const labels = images.every(image => /^\d+$/.test(image.label)) ? 'indices' : 'names';
  return { root, images, labels, warnings: [], classNames: labels === 'indices' ? await readClassNames(root) : undefined };
}

/** The first of `<name>.txt` that is there. */
export async function findList(root: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const file = `${name}.txt`;
    if (await fs.stat(path.join(root, file)).then(stat => stat.isFile(), () => false)) return file;
  }
  return undefined;
}

/** A line is a path and a label; the last space parts them, since paths may contain spaces. */
async function readList({ root, file, split }: { root: string; file: string; split: SplitName }): Promise<ListedImage[]> {
  const images: ListedImage[] = [];
  for (const { text, where } of await readLines(path.join(root, file))) {
    const parts = /^(.*\S)\s+(\S+)$/.exec(text);
    if (!parts) throw new UserError({ what: `no label after the path "${text}"`, where, remedy: 'Write a path, a space and a label on each line.' });
    images.push({ path: relativePath(parts[1]!, where), label: parts[2]!, split, where });
  }
  if (!images.length) throw new UserError({ what: `the list of the ${split} split is empty`, where: path.join(root, file), remedy: 'Fill it, or delete it to have the split drawn from the training images.' });
  return images;
}

/** Lines that are not blank, with the place of each: `/data/train.txt:3`. */
export async function readLines(file: string): Promise<{ text: string; where: string }[]> {
  const lines = (await fs.readFile(file, 'utf8')).replace(/^\ufeff/, '').split(/\r?\n/);
  return lines.map((line, i) => ({ text: line.trim(), where: `${file}:${i + 1}` })).filter(line => line.text !== '');
}

/** classes.txt beside the lists, if any: a name a line, in the order of the labels. */
async function readClassNames(root: string): Promise<string[] | undefined> {
  const file = await findList(root, ['classes']);
  return file === undefined ? undefined : (await readLines(path.join(root, file))).map(line => line.text);
}

function noLists(folder: string, splits: ReadOptions['splits']): UserError {
  const files = splits.map(({ names }) => names.map(name => `${name}.txt`).join(' or ')).join(', ');
  return new UserError({ what: 'no lists found', where: folder, remedy: `Put one of these beside the images: ${files}; or name the lists in "splits".` });
}
