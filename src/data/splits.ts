/**
 * Draws the splits that a data set lacks: stratified by class, by seed, with groups kept on one side. What a sample is
 * drawn for depends on its id, not on the order of files, so machines agree and one more image moves few others.
 */
import { streamKey, uniform } from '../common/random';
import { byCodeUnits } from './files';
import type { SplitName } from '../common/trial';

export interface Drawable {
  id: string;
  label: number;
  /** Images of one group (patient, video, ...) stay together; absent: each its own. */
  group?: string | undefined;
}

export interface Fractions {
  /** Shares of all the samples; absent: not drawn. */
  validation?: number | undefined;
  test?: number | undefined;
}

/** The split of each sample, in the order given. */
export function drawSplits(samples: readonly Drawable[], { fractions, seed }: { fractions: Fractions; seed: number }): SplitName[] {
  const grouped = samples.some(sample => sample.group !== undefined);
  return grouped ? drawGroups(samples, { fractions, seed }) : drawSingly(samples, { fractions, seed });
}

type Options = { fractions: Fractions; seed: number };
const heldOut = ['test', 'validation'] as const;

/** Class by class: of n samples round(n * fraction) go to each held-out split; at least one stays for training. */
function drawSingly(samples: readonly Drawable[], { fractions, seed }: Options): SplitName[] {
  const out = new Array<SplitName>(samples.length).fill('train');
  const shares = roundShares(countClasses(samples), fractions);
  for (const [label, members] of groupIndices(samples, sample => sample.label)) {
    const order = [...members].sort(byChance(i => samples[i]!.id, seed));
    for (const split of heldOut) for (const i of order.splice(0, shares[split].get(label) ?? 0)) out[i] = split;
  }
  return out;
}

/** Rounds each class's share so that the running total stays within half an image of the exact one. */
function roundShares(counts: Map<number, number>, fractions: Fractions) {
  const shares = { test: new Map<number, number>(), validation: new Map<number, number>() };
  const owed = { test: 0, validation: 0 };
  for (const [label, count] of [...counts].sort(([a], [b]) => a - b)) {
    let free = count - 1;
    for (const split of heldOut) {
      owed[split] += count * (fractions[split] ?? 0);
      const taken = Math.max(0, Math.min(free, Math.round(owed[split])));
      shares[split].set(label, taken);
      owed[split] -= taken;
      free -= taken;
    }
  }
  return shares;
}

/**
 * Whole groups, large ones first: each goes where it brings the counts of all classes closest to what is wanted. A
 * held-out split that got nothing while groups were left takes the smallest.
 */
function drawGroups(samples: readonly Drawable[], { fractions, seed }: Options): SplitName[] {
  const out = new Array<SplitName>(samples.length).fill('train');
  const counts = countClasses(samples);
  const splits = (['train', ...heldOut] as const).filter(split => split === 'train' || fractions[split]);
  const share = (split: SplitName) => split === 'train' ? 1 - (fractions.test ?? 0) - (fractions.validation ?? 0) : fractions[split] ?? 0;
  const taken = new Map(splits.map(split => [split, new Map<number, number>()]));
  const cost = (split: SplitName, own: Map<number, number>) => [...own].reduce((sum, [label, n]) => {
    const open = share(split) * counts.get(label)! - (taken.get(split)!.get(label) ?? 0);
    return sum + ((n - open) ** 2 - open ** 2) / counts.get(label)!;
  }, 0);
  const groups = [...groupIndices(samples, (sample, i) => sample.group ?? `\0${i}`)];
  const chance = byChance<(typeof groups)[number]>(([name]) => name, seed);
  groups.sort((a, b) => b[1].length - a[1].length || chance(a, b));
  groups.forEach(([, members], position) => {
    const own = countClasses(members.map(i => samples[i]!));
    const empty = splits.filter(split => taken.get(split)!.size === 0);
    const choices = empty.length >= groups.length - position ? empty : splits;
    const best = choices.reduce((a, b) => cost(b, own) < cost(a, own) ? b : a);
    for (const [label, n] of own) taken.get(best)!.set(label, (taken.get(best)!.get(label) ?? 0) + n);
    for (const i of members) out[i] = best;
  });
  return out;
}

function countClasses(samples: readonly Drawable[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { label } of samples) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

function groupIndices<Key>(samples: readonly Drawable[], keyOf: (sample: Drawable, index: number) => Key): Map<Key, number[]> {
  const groups = new Map<Key, number[]>();
  samples.forEach((sample, i) => {
    const key = keyOf(sample, i), members = groups.get(key);
    if (members) members.push(i); else groups.set(key, [i]);
  });
  return groups;
}

/** Orders by a random number that belongs to the name. */
function byChance<T>(nameOf: (item: T) => string, seed: number): (a: T, b: T) => number {
  const draw = (item: T) => uniform(streamKey(seed, 'split', nameOf(item)), 0);
  return (a, b) => draw(a) - draw(b) || byCodeUnits(nameOf(a), nameOf(b));
}
