/** Groups of images that belong together (a patient's, a video's): where they are said and that they are not torn apart. */
import fs from 'node:fs/promises';
import { UserError } from '../common/errors';
import type { DataSetSpec } from '../common/study';
import { csvColumns } from './csv';

/** The CSV column that `holdOut.groups` names; undefined where it is a pattern on the path, or absent. */
export async function groupColumn(spec: DataSetSpec, path: string): Promise<string | undefined> {
  const { groups } = spec.holdOut;
  if (groups === undefined || !(await fs.stat(path).then(stat => stat.isFile(), () => false))) return undefined;
  return (await csvColumns(path)).includes(groups) ? groups : undefined;
}

/** Gives every image its group, from the column read already or by the pattern's first group. */
export function assignGroups<Image extends { path: string; where: string; group?: string | undefined }>(images: readonly Image[], groups: string | undefined): Image[] {
  if (groups === undefined || images.some(image => image.group !== undefined)) return [...images];
  const pattern = compile(groups);
  return images.map(image => {
    const group = pattern.exec(image.path)?.[1];
    if (group === undefined) throw new UserError({ what: `the pattern ${groups} finds no group in "${image.path}"`, where: image.where, remedy: 'Correct "holdOut.groups" so that every path has a group.' });
    return { ...image, group };
  });
}

function compile(groups: string): RegExp {
  const remedy = 'Give the name of a CSV column, or a regular expression on the path such as "(patient\\\\d+)_".';
  try {
    const pattern = new RegExp(groups);
    if (new RegExp(`${groups}|`).exec('')!.length > 1) return pattern;
  } catch (error) {
    throw new UserError({ what: (error as Error).message, where: 'holdOut.groups of the data set', remedy, cause: error });
  }
  throw new UserError({ what: `"${groups}" is no column, and as a regular expression it has no group in parentheses`, where: 'holdOut.groups of the data set', remedy });
}

/** Warns where the user's own splits tear groups apart. */
export function reportSplitGroups(images: readonly { group?: string | undefined; split: string }[]): string[] {
  const sides = new Map<string, Set<string>>();
  for (const { group, split } of images) if (group !== undefined) sides.set(group, (sides.get(group) ?? new Set()).add(split));
  const torn = [...sides].filter(([, splits]) => splits.size > 1);
  if (!torn.length) return [];
  const [name, splits] = torn[0]!;
  return [`${torn.length} of ${sides.size} groups are in more than one split (${name}: ${[...splits].join(', ')}); accuracy will look better than it is`];
}
