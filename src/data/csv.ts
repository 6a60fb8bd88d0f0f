/** CSV manifest: a header with the columns path, label and, if the user made splits, split; paths relative to the file. */
import fs from 'node:fs/promises';
import nodePath from 'node:path';
import { CsvError, parse } from 'csv-parse/sync';
import { UserError } from '../common/errors';
import { dataRoot, relativePath } from './files';
import type { ListedImage, Listing, ReadOptions } from './listing';
import type { SplitName } from '../common/trial';

export async function readCsv({ path: file, splits, groupColumn }: ReadOptions): Promise<Listing> {
  const root = await dataRoot(nodePath.dirname(file), file);
  const rows = parseRows(file, await readText(file));
  const columns = Object.keys(rows[0]?.record ?? {});
  requireColumns(file, columns, rows.length);
  const split = (record: Row['record'], where: string) => columns.includes('split') ? splitOf(record['split']!, splits, where) : null;
  const images = rows.flatMap(({ record, where }): ListedImage[] => {
    const label = record['label']!;
    if (label === '') throw new UserError({ what: 'the label is empty', where, remedy: 'Fill the column "label", or remove the line.' });
    const part = split(record, where);
    if (part === undefined) return [];
    return [{ path: relativePath(record['path']!, where), label, split: part, group: groupColumn === undefined ? undefined : record[groupColumn], where }];
  });
  if (!images.length) throw new UserError({ what: `no line is in the split ${splits.map(s => s.names[0]).join(' or ')}`, where: file, remedy: 'Correct the column "split", or "splits" of the study.' });
  return { root, images, labels: 'names', warnings: [] };
}

/** The columns of a CSV file; empty where it has no line. */
export async function csvColumns(file: string): Promise<string[]> {
  return Object.keys(parseRows(file, await readText(file))[0]?.record ?? {});
}

interface Row { record: Record<string, string>; where: string }

function parseRows(file: string, text: string): Row[] {
  const header = text.replace(/^\ufeff/, '').split(/\r?\n/, 1)[0]!;
  const delimiter = [',', ';', '\t'].find(d => header.split(d).some(name => name.trim().replaceAll('"', '') === 'path')) ?? ',';
  try {
    const rows = parse(text, { bom: true, columns: true, delimiter, info: true, skip_empty_lines: true, trim: true }) as unknown as { record: Record<string, string>; info: { lines: number } }[];
    return rows.map(({ record, info }) => ({ record, where: `${file}:${info.lines}` }));
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    throw new UserError({ what: error.message, where: file, remedy: 'Give every line as many fields as the header, and quote fields that contain the separator.', cause: error });
  }
}

async function readText(file: string): Promise<string> {
  try {
    return await fs.readFile(file, 'utf8');
  } catch (error) {
    throw new UserError({ what: `there is no CSV file ${file}`, where: file, remedy: 'Correct "path" of the data set; it is relative to the study file.', cause: error });
  }
}

function requireColumns(file: string, columns: readonly string[], rows: number): void {
  if (!rows) throw new UserError({ what: 'the file has no lines below its header', where: file, remedy: 'Write a header "path,label,split" and a line for each image.' });
  const missing = ['path', 'label'].filter(name => !columns.includes(name));
  if (missing.length) throw new UserError({ what: `no column ${missing.join(' and ')} among ${columns.join(', ')}`, where: `${file}:1`, remedy: 'Name the columns path, label and, where there are splits, split.' });
}

/** Undefined: a split that was not asked for, which only matters where one split is read (an extra test set). */
function splitOf(value: string, splits: ReadOptions['splits'], where: string): SplitName | undefined {
  const found = splits.find(({ names }) => names.includes(value))?.split;
  if (found || splits.length === 1) return found;
  throw new UserError({ what: `the split "${value}" is none of ${splits.map(({ names }) => names[0]).join(', ')}`, where, remedy: 'Correct the column "split", or say in "splits" of the study what the values are.' });
}
