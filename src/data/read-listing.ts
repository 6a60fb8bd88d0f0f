/** One data set in whichever of the three formats it is. */
import fs from 'node:fs/promises';
import { UserError } from '../common/errors';
import type { DataSetSpec } from '../common/study';
import { readCsv } from './csv';
import { readImageFolder } from './image-folder';
import type { Listing, ReadOptions } from './listing';
import { findList, readLists } from './vtab';

const readers = { 'image-folder': readImageFolder, vtab: readLists, csv: readCsv };

export async function readListing({ format, ...options }: ReadOptions & { format: DataSetSpec['format'] }): Promise<Listing> {
  return readers[format === 'auto' ? await detectFormat(options) : format](options);
}

/** A file is a CSV; a folder with lists of the splits is VTAB-1K's form; any other folder holds folders of images. */
async function detectFormat({ path, splits }: ReadOptions): Promise<keyof typeof readers> {
  const stat = await fs.stat(path).catch(() => undefined);
  if (!stat) throw new UserError({ what: `there is no folder or file ${path}`, where: path, remedy: 'Correct "path" of the data set; it is relative to the study file.' });
  if (stat.isFile()) return 'csv';
  for (const { names } of splits) if (await findList(path, names)) return 'vtab';
  return 'image-folder';
}
