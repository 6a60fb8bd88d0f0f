/** ImageFolder: root/<split>/<class>/...; without splits root/<class>/.... A folder's name is its class. */
import { UserError } from '../common/errors';
import { byCodeUnits, dataRoot, join, readFolder, walkImages } from './files';
import type { ListedImage, Listing, ReadOptions } from './listing';
import type { SplitName } from '../common/trial';

export async function readImageFolder({ path, splits }: ReadOptions): Promise<Listing> {
  const root = await dataRoot(path, path);
  const top = (await readFolder(root, '')).folders;
  const found = await splitFolders(root, top, splits);
  const parts = found.length ? found : [{ folder: '', split: null }];
  const read = await Promise.all(parts.map(part => readSplit(root, part)));
  const images = read.flatMap(part => part.images);
  if (!images.length) throw noImages(path, parts.map(part => part.folder).filter(Boolean));
  const unread = found.length ? top.filter(name => !found.some(part => part.folder === name)) : [];
  return {
    root, images, labels: 'names',
    classNames: [...new Set(read.flatMap(part => part.classes))].sort(byCodeUnits),
    warnings: [
      ...read.flatMap(part => part.warnings),
      ...(unread.length ? [`${path}: not read, being none of the splits: ${unread.join(', ')}`] : []),
    ],
  };
}

/** A folder called `train` is a split only when folders lie in it: it may as well be a class of trains. */
async function splitFolders(root: string, top: readonly string[], splits: ReadOptions['splits']) {
  const found: { folder: string; split: SplitName }[] = [];
  for (const { split, names } of splits) {
    for (const folder of names.filter(name => top.includes(name))) {
      if (!(await readFolder(root, folder)).folders.length) continue;
      found.push({ folder, split });
      break;
    }
  }
  return found;
}

async function readSplit(root: string, { folder, split }: { folder: string; split: SplitName | null }) {
  const { images: loose, folders: classes } = await readFolder(root, folder);
  const images = await Promise.all(classes.map(async label =>
    (await walkImages(root, join(folder, label))).map((path): ListedImage => ({ path, label, split, where: path }))));
  const warnings = loose.length ? [`${join(root, folder)}: ${loose.length} images lie outside any class folder and are left out (${loose[0]!}, ...)`] : [];
  return { images: images.flat(), classes, warnings };
}

function noImages(path: string, folders: readonly string[]): UserError {
  const looked = folders.length ? folders.map(folder => `${folder}/<class>/`).join(', ') : '<class>/, <split>/<class>/';
  return new UserError({ what: `no images found (looked in ${looked})`, where: path, remedy: 'Put the images into one folder for each class (jpg, png, webp, tiff, bmp or gif), or say "format": "csv" or "vtab".' });
}
