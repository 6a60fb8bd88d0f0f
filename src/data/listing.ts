/** What the readers of the formats have in common: images as the user listed them, before labels and splits are settled. */
import { splitFolders } from '../common/image-names';
import type { DataSetSpec } from '../common/study';
import type { SplitName } from '../common/trial';

export interface ListedImage {
  /** Relative to the root, forward slashes. */
  path: string;
  /** As written: a class name or a number. */
  label: string;
  /** Null where the user made no splits. */
  split: SplitName | null;
  /** From a CSV column: images that must stay on one side. */
  group?: string | undefined;
  /** Who says so: `train800.txt:17`, or the image's own path. */
  where: string;
}

export interface Listing {
  /** Real path of the folder that paths are relative to. */
  root: string;
  images: ListedImage[];
  /** `indices`: labels are numbers that count classes from 0; `names`: labels are names, numbers too. */
  labels: 'indices' | 'names';
  /** Names that the data set gives its classes, in the order of their labels; for `names`, all there are. */
  classNames?: string[] | undefined;
  warnings: string[];
}

/** Which splits to look for, and under which names (the first found counts). */
export type SplitNames = readonly { split: SplitName; names: readonly string[] }[];

export interface ReadOptions {
  /** Absolute folder or file. */
  path: string;
  splits: SplitNames;
  /** CSV column that names the group. */
  groupColumn?: string | undefined;
}

/** The names to look for: what the study says, and where it says nothing the usual ones. */
export function splitNames(splits: DataSetSpec['splits']): SplitNames {
  return (Object.keys(splitFolders) as SplitName[]).map(split => ({
    split,
    names: splits[split] === splitFolders[split][0] ? splitFolders[split] : [splits[split]],
  }));
}
