/** What a data set's files and folders are called, by name alone: the extension guesses with what training reads. */
import type { SplitName } from './trial';

/** Of files that count as images; compared in lower case. */
export const imageEndings: ReadonlySet<string> = new Set(['.jpg', '.jpeg', '.png', '.webp', '.gif', '.tif', '.tiff', '.avif', '.bmp', '.ppm', '.pgm']);

/** The usual names of each split's folder or list, VTAB-1K's lists included; the first one is the schema's default. */
export const splitFolders: Readonly<Record<SplitName, readonly string[]>> = {
  train: ['train', 'train800', 'training'],
  validation: ['val', 'val200', 'validation', 'valid', 'dev'],
  test: ['test', 'testing'],
};
