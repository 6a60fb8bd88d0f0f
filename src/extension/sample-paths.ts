/** Which files of the data sets the panel may show and open. Pure. */
import path from 'node:path';
import { UserError } from '../common/errors';
import type { SnapshotDataSet } from '../common/snapshot';

/** Roots of the data sets, or of those inside `limits` where there are any. A root of the whole disk is left out. */
export function readableRoots(dataSets: readonly SnapshotDataSet[], limits: readonly string[] | null): string[] {
  const roots = [...new Set(dataSets.map(dataSet => path.resolve(dataSet.root)))];
  return roots.filter(root => path.dirname(root) !== root && (limits === null || isInside(root, limits)));
}

/** The sample's absolute path; a UserError when the data set is not known, or the path leaves it. */
export function resolveSample(dataSets: readonly SnapshotDataSet[], sample: { dataSet: string; path: string }, limits: readonly string[] | null): string {
  const root = dataSets.find(dataSet => dataSet.name === sample.dataSet)?.root;
  const readable = readableRoots(dataSets, limits);
  if (root === undefined || !readable.includes(path.resolve(root))) {
    throw new UserError({ what: `the images of ${sample.dataSet} may not be opened from here`, remedy: 'Trust the workspace, if it is yours.' });
  }
  const file = path.resolve(root, sample.path);
  if (!isInside(file, [root])) throw new UserError({ what: 'this path leaves its data set', where: sample.path });
  return file;
}

export function isInside(file: string, folders: readonly string[]): boolean {
  return folders.some(folder => {
    const relative = path.relative(folder, file);
    return !relative.startsWith('..') && !path.isAbsolute(relative);
  });
}
