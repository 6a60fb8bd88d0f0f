/** What of a study's trials is frozen and will be computed once: how far it reaches and how large it gets on disk. */
import { cacheFolder } from '../common/paths';
import { isExtraSplit, type PrefixUse, type Trial } from '../common/trial';
import type { Model } from '../train/model';

export type PlannedPrefix = Omit<PrefixUse, 'seconds'>;

export interface PlannedPrefixes {
  /** Of each trial that has one. */
  byTrial: ReadonlyMap<string, PlannedPrefix>;
  /** On disk when all trials have run; what trials share counts once, images of equal content twice. */
  bytes: number;
  /** What prefixes of all studies take now. */
  stored: number;
  maxBytes: number;
}

/** Null where the study caches none. */
export async function planPrefixes(trials: readonly Trial[], countsOf: (trial: Trial) => Record<string, number[]>): Promise<PlannedPrefixes | null> {
  const [cache] = trials.map(trial => trial.prefixCache ?? 'off');
  if (cache === undefined || cache === 'off') return null;
  const { storedPrefixBytes, recordBytes } = await import('../train/prefix-cache');
  const look = await openLook();
  const byTrial = new Map<string, PlannedPrefix>();
  const folders = new Map<string, number>();
  for (const trial of trials) {
    const { prefix, model, digests } = await look(trial);
    if (!prefix.training && !prefix.evaluation) continue;
    byTrial.set(trial.id, prefix);
    for (const [split, counts] of Object.entries(countsOf(trial))) {
      const stage = isTrainedOn(trial, split) ? prefix.training : prefix.evaluation;
      if (!stage || !isRead(trial, split)) continue;
      const { resize, normalization } = trial.recipe;
      const key = [digests.get(stage), trial.data.fingerprint, split, resize, JSON.stringify(normalization)].join();
      folders.set(key, counts.reduce((a, b) => a + b, 0) * recordBytes(model, stage, cache.precision));
    }
  }
  return { byTrial, bytes: [...folders.values()].reduce((a, b) => a + b, 0), stored: await storedPrefixBytes(cacheFolder()), maxBytes: cache.maxGB * 1e9 };
}

function isTrainedOn({ recipe }: Trial, split: string): boolean {
  return split === 'train' || (split === 'validation' && recipe.trainOn === 'train+validation');
}

function isRead(trial: Trial, split: string): boolean {
  return isTrainedOn(trial, split) || isExtraSplit(split) || (trial.evaluation.splits as string[]).includes(split);
}

interface Look {
  prefix: PlannedPrefix;
  model: Model;
  /** What is computed up to each of its stages. */
  digests: ReadonlyMap<number, string>;
}

/** Trials that differ in numbers alone have the same prefix, and are looked at once. */
async function openLook(): Promise<(trial: Trial) => Promise<Look>> {
  const { findMethod } = await import('../peft/registry');
  const { prepareModel } = await import('../train/model');
  const { describePrefix, findPrefixes } = await import('../train/prefix');
  const known = new Map<string, Promise<Look>>();
  return trial => {
    const { method, recipe, backbone: { architecture } } = trial;
    const shape = { augmented: recipe.augmentation.length > 0, dropPath: recipe.dropPath > 0 ? 0.1 : 0, dropout: recipe.dropout };
    const key = JSON.stringify([method.id, method.options, shape]);
    if (!known.has(key)) known.set(key, (async () => {
      const model = await prepareModel({ architecture, method: findMethod(method.id), options: method.options, classes: trial.data.classes.length, batch: 2, ...shape });
      const { training: { stage: training }, evaluation: { stage: evaluation } } = await findPrefixes(model, shape);
      const stages = [...new Set([training, evaluation])].filter(stage => stage > 0);
      const digests = new Map<number, string>();
      for (const stage of stages) digests.set(stage, (await describePrefix(model, stage)).digest);
      return { prefix: { training, evaluation }, model, digests };
    })());
    return known.get(key)!;
  };
}
