/** Images to predict: a folder without labels, or one split of a data set in its listed order. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../common/errors';
import type { Sample } from '../common/trial';
import { labelIndex } from './classes';
import { mapConcurrently } from './concurrency';
import { sampleId } from './data-set';
import { dataRoot, isImageName, join, readFolder, relativePath, resolveInside, walkImages } from './files';
import type { ListedImage, Listing } from './listing';
import { findList, readLines } from './vtab';

/** All images below a folder, sorted by path, label -1, split "test". */
export async function indexUnlabelled(folder: string): Promise<Sample[]> {
  const root = await dataRoot(folder, folder);
  const samples = (await walkImages(root, '')).map(file => toSample(file, -1));
  if (!samples.length) throw new UserError({ what: 'no images found', where: folder, remedy: 'Name a folder with jpg, png, webp, tiff, bmp or gif files.' });
  return samples;
}

export interface SplitRequest {
  root: string;
  /** The list root/<split>.txt or the folder root/<split>. */
  split: string;
  /** The adapter's classes, to which written labels refer; absent: numbers count as they are, folders by sorted name. */
  classes?: readonly string[] | undefined;
}

/** The samples of one split in listed order, repeated lines included; label -1 where the list says none. */
export async function indexSplit({ root: folder, split, classes }: SplitRequest): Promise<Sample[]> {
  const root = await dataRoot(folder, folder), name = relativePath(split, '--split');
  const list = await findList(root, [name]);
  if (list) return listedSamples(root, { list, classes });
  if (await fs.stat(path.join(root, name)).then(stat => stat.isDirectory(), () => false)) return folderSamples(root, { folder: name, classes });
  throw new UserError({ what: `there is neither a list ${split}.txt nor a folder ${split}`, where: folder, remedy: 'Name a split that the data set has.' });
}

async function listedSamples(root: string, { list, classes }: { list: string; classes: readonly string[] | undefined }): Promise<Sample[]> {
  const images = (await readLines(path.join(root, list))).map(parseLine);
  if (!images.length) throw new UserError({ what: 'the list is empty', where: path.join(root, list), remedy: 'Write one image path on each line, and its label if known.' });
  await mapConcurrently(images, 16, image => resolveInside(root, image.path, image.where));
  const written = images.filter(image => image.label !== '');
  const labels: Listing['labels'] = written.every(image => /^\d+$/.test(image.label)) ? 'indices' : 'names';
  const known = classes ?? classNames(written, labels);
  return images.map(image => toSample(image.path, image.label === '' ? -1 : labelIndex(image, { classes: known, labels })));
}

/** A label is what follows the last space, unless the line ends in an image's name. */
function parseLine({ text, where }: { text: string; where: string }): ListedImage {
  const parts = isImageName(path.basename(text)) ? null : /^(.*\S)\s+(\S+)$/.exec(text);
  return { path: relativePath(parts?.[1] ?? text, where), label: parts?.[2] ?? '', split: 'test', where };
}

function classNames(images: readonly ListedImage[], labels: Listing['labels']): string[] {
  if (labels === 'names') return [...new Set(images.map(image => image.label))].sort();
  return Array.from({ length: images.reduce((most, image) => Math.max(most, Number(image.label)), 0) + 1 }, (_, i) => String(i));
}

async function folderSamples(root: string, { folder, classes }: { folder: string; classes: readonly string[] | undefined }): Promise<Sample[]> {
  const { folders } = await readFolder(root, folder);
  const names = classes ?? folders;
  const files = await walkImages(root, folder);
  if (!files.length) throw new UserError({ what: 'no images found', where: path.join(root, folder), remedy: 'Name a split with jpg, png, webp, tiff, bmp or gif files.' });
  const inClass = (file: string) => folders.find(name => file.startsWith(`${join(folder, name)}/`));
  return files.map(file => {
    const label = inClass(file);
    return toSample(file, label === undefined ? -1 : labelIndex({ path: file, label, split: 'test', where: file }, { classes: names, labels: 'names' }));
  });
}

function toSample(file: string, label: number): Sample {
  return { id: sampleId(file), path: file, label, split: 'test' };
}
