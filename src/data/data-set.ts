/** Data sets as the study names them to samples with labels, splits and a fingerprint. */
import nodePath from 'node:path';
import type { DataSetSpec, Evaluation } from '../common/study';
import { extraSplit, type Sample, type TrialDataSet } from '../common/trial';
import { UserError } from '../common/errors';
import { labelIndex, settleClasses } from './classes';
import { mapConcurrently } from './concurrency';
import { hashContents, sha256 } from './content-hash';
import { byCodeUnits, resolveInside } from './files';
import { assignGroups, groupColumn, reportSplitGroups } from './groups';
import { splitNames, type ListedImage, type Listing } from './listing';
import { readListing } from './read-listing';
import { drawSplits } from './splits';
import { imbalanceWarnings, sharedContentWarnings } from './warnings';

export interface IndexedDataSet {
  dataSet: TrialDataSet;
  samples: Sample[];
  /** For each split, how many samples each class has. */
  classCounts: Record<string, number[]>;
  /** For the user to read: drawn splits, imbalance, files left out. */
  warnings: string[];
}

export interface IndexOptions {
  /** Absolute folder that the paths of the specification are relative to: the study file's. */
  folder: string;
  /** Where content hashes are remembered. */
  cacheFolder: string;
  /** Further test sets with the same classes. */
  extra?: Evaluation['extra'] | undefined;
  /** Files read so far, of all. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Reads the lists or folders, settles classes and splits, hashes contents. Bad input is a UserError with file and line. */
export async function indexDataSet(spec: DataSetSpec, options: IndexOptions): Promise<IndexedDataSet> {
  const path = nodePath.resolve(options.folder, spec.path);
  const listing = await readListing({ path, format: spec.format, splits: splitNames(spec.splits), groupColumn: await groupColumn(spec, path) });
  const classes = settleClasses(listing, spec.classes);
  const { images, warnings: repeated } = await settleImages(listing);
  const labelled = images.map(image => ({ ...image, id: sampleId(image.path), index: labelIndex(image, { classes, labels: listing.labels }) }));
  const drawn = fillSplits(assignGroups(labelled, spec.holdOut.groups), spec, path);
  const extras = await mapConcurrently(options.extra ?? [], 1, one => readExtra(one, { folder: options.folder, classes }));
  const samples = [...drawn.samples, ...extras.flatMap(extra => extra.samples)];
  const hashes = await hashAll([{ root: listing.root, samples: drawn.samples }, ...extras], options);
  const classCounts = countClasses(samples, classes.length);
  return {
    dataSet: {
      name: spec.name ?? nodePath.basename(path).replace(/\.(csv|tsv)$/i, ''),
      root: listing.root,
      fingerprint: fingerprint(samples, { hashes, classes }),
      classes,
      extraRoots: Object.fromEntries(extras.map(extra => [extra.name, extra.root])),
      onBadImage: spec.onBadImage,
    },
    samples, classCounts,
    warnings: [
      ...listing.warnings, ...repeated, ...drawn.warnings, ...extras.flatMap(extra => extra.warnings),
      ...imbalanceWarnings(classes, classCounts['train']!), ...sharedContentWarnings(samples, hashes),
    ],
  };
}

/** Stable over machines: of the path alone, in one Unicode form (macOS stores another than it is given). */
export function sampleId(path: string, extra = ''): string {
  return sha256(`${extra}\0${path.normalize('NFC')}`).slice(0, 16);
}

type Placed = ListedImage & { id: string; index: number };

/** Each file once, inside the root; said twice with two labels or in two splits is an error. */
async function settleImages({ root, images }: Listing): Promise<{ images: ListedImage[]; warnings: string[] }> {
  const first = new Map<string, ListedImage>();
  for (const image of images) {
    const earlier = first.get(image.path);
    if (!earlier) first.set(image.path, image);
    else if (earlier.label !== image.label || earlier.split !== image.split) throw contradiction(earlier, image);
  }
  const unique = [...first.values()];
  await mapConcurrently(unique, 16, image => resolveInside(root, image.path, image.where));
  const repeated = images.length - unique.length;
  return { images: unique, warnings: repeated ? [`${root}: ${repeated} images are listed more than once and count once`] : [] };
}

function contradiction(a: ListedImage, b: ListedImage): UserError {
  const label = a.label !== b.label;
  return new UserError({
    what: label ? `${b.path} has the label "${b.label}" here and "${a.label}" at ${a.where}` : `${b.path} is in the split ${b.split} here and in ${a.split} at ${a.where}`,
    where: b.where,
    remedy: label ? 'Keep one of the two lines.' : 'Keep each image in one split; "trainOn": "train+validation" in the recipe trains on both.',
  });
}

function fillSplits(images: readonly Placed[], spec: DataSetSpec, path: string): { samples: Sample[]; warnings: string[] } {
  const present = new Set(images.map(image => image.split));
  const pool = images.filter(image => image.split === null || image.split === 'train');
  if (!pool.length) throw new UserError({ what: `there is no training split (looked for ${splitNames(spec.splits)[0]!.names.join(', ')})`, where: path, remedy: 'Add it, or say in "splits" what the data set calls it.' });
  const fractions = Object.fromEntries((['validation', 'test'] as const).filter(split => !present.has(split)).map(split => [split, spec.holdOut[split]]));
  if (Object.values(fractions).reduce((sum, f) => sum + f, 0) >= 1) throw new UserError({ what: 'the drawn splits leave nothing to train on', where: 'holdOut of the data set', remedy: 'Choose fractions that add up to less than 1.' });
  const drawn = drawSplits(pool.map(({ id, index, group }) => ({ id, label: index, group })), { fractions, seed: spec.holdOut.seed });
  const splitOf = new Map(pool.map((image, i) => [image, drawn[i]!]));
  const samples = images.map((image): Sample => ({ id: image.id, path: image.path, label: image.index, split: splitOf.get(image) ?? image.split! }));
  const made = Object.keys(fractions).map(split => ({ split, count: samples.filter(sample => sample.split === split).length }));
  for (const { split, count } of [...made, { split: 'train', count: samples.filter(sample => sample.split === 'train').length }]) if (!count) throw tooFew(split, path);
  return {
    samples,
    warnings: [
      ...made.map(({ split, count }) => `${path}: has no ${split} split; ${count} of the ${pool.length} images were drawn for it (seed ${spec.holdOut.seed})`),
      ...reportSplitGroups(images.map((image, i) => ({ group: image.group, split: samples[i]!.split }))),
    ],
  };
}

function tooFew(split: string, path: string): UserError {
  return new UserError({ what: `too few images or groups to draw the ${split} split`, where: path, remedy: 'Add images, change "holdOut", or make the splits yourself.' });
}

async function readExtra(extra: Evaluation['extra'][number], { folder, classes }: { folder: string; classes: readonly string[] }) {
  const path = nodePath.resolve(folder, extra.path);
  const listing = await readListing({ path, format: extra.format, splits: [{ split: 'test', names: [extra.split] }] });
  const { images, warnings } = await settleImages(listing);
  const split = extraSplit(extra.name);
  const samples = images.map((image): Sample => ({
    id: sampleId(image.path, split), path: image.path, split, label: labelIndex(image, { classes, labels: listing.labels }),
  }));
  return { name: extra.name, root: listing.root, samples, warnings: [...listing.warnings, ...warnings] };
}

async function hashAll(parts: readonly { root: string; samples: readonly Sample[] }[], { cacheFolder, onProgress }: IndexOptions): Promise<string[]> {
  const total = parts.reduce((sum, part) => sum + part.samples.length, 0);
  const hashes: string[] = [];
  for (const { root, samples } of parts) {
    const before = hashes.length;
    const paths = samples.map(sample => sample.path);
    hashes.push(...await hashContents({ root, paths, cacheFolder, onProgress: done => onProgress?.(before + done, total) }));
  }
  return hashes;
}

function countClasses(samples: readonly Sample[], classes: number): Record<string, number[]> {
  const counts: Record<string, number[]> = {};
  for (const { split, label } of samples) (counts[split] ??= new Array<number>(classes).fill(0))[label]!++;
  return counts;
}

/** Covers what training and evaluation see; not where the files lie or in which order they were found. */
function fingerprint(samples: readonly Sample[], { hashes, classes }: { hashes: readonly string[]; classes: readonly string[] }): string {
  const lines = samples.map((sample, i) => `${sample.id} ${sample.label} ${sample.split} ${hashes[i]!}`);
  return sha256(JSON.stringify([classes, lines.sort(byCodeUnits)]));
}
