/** What of a trial's model is frozen, computed once before the training and read from the cache by every epoch. */
import { cacheFolder } from '../common/paths';
import { UserError } from '../common/errors';
import type { Trial, TrialEvent } from '../common/trial';
import type { Batches } from '../data/batches';
import type { Backbone } from '../vit/weights';
import type { Model } from '../train/model';
import { findPrefixes, noPrefix, type Prefix } from '../train/prefix';
import { fillPrefixes, tasksBytes, type PrefixTask } from '../train/prefix-cache';
import type { TrialData } from './data';
import type { TrialEngine } from './engine';
import { Stopped, type StopSignal } from './stop';

export interface UsedPrefixes {
  training: Prefix;
  evaluation: Prefix;
  /** For the attempt's record: what the batches hold other than images; null where nothing is cached. */
  label: string | null;
}

export interface PrefixWork {
  trial: Trial;
  model: Model;
  backbone: Backbone;
  data: TrialData;
  engine: TrialEngine;
  stop: StopSignal;
  onEvent(event: TrialEvent): void;
  warn(message: string): void;
}

/** After it the data's batches hold what programs that start at the stages take. */
export async function usePrefixes(work: PrefixWork): Promise<UsedPrefixes> {
  const { trial: { prefixCache = 'off', recipe }, model, data } = work;
  const none = noPrefix(model);
  const nothing = { training: none, evaluation: none, label: null };
  if (prefixCache === 'off') return nothing;
  const found = await findPrefixes(model, { augmented: recipe.augmentation.length > 0 });
  const chosen = choose(found, work, prefixCache);
  const training = chosen.includes('training') ? found.training : none;
  const evaluation = chosen.includes('evaluation') ? found.evaluation : none;
  if (!chosen.length) return nothing;
  try {
    await fill(work, tasksOf({ training, evaluation }, data), prefixCache);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    work.warn(`the frozen prefix is computed anew at every step, since its cache cannot be used: ${error.message}`);
    data.readImages();
    return nothing;
  }
  return { training, evaluation, label: training.stage ? 'frozen prefix cached' : 'frozen prefix cached for evaluation' };
}

type Settings = Exclude<NonNullable<Trial['prefixCache']>, 'off'>;

/** What fits the bound: both, or else the training's, or else the evaluations'. */
function choose(found: { training: Prefix; evaluation: Prefix }, { model, data, warn }: PrefixWork, { precision, maxGB }: Settings): ('training' | 'evaluation')[] {
  const none = { ...found.training, stage: 0 };
  const options = [['training', 'evaluation'], ['training'], ['evaluation']] as const;
  const bytes = options.map(names => tasksBytes(tasksOf({
    training: (names as readonly string[]).includes('training') ? found.training : none, evaluation: (names as readonly string[]).includes('evaluation') ? found.evaluation : none,
  }, data), model, precision));
  if (!bytes[0]) return [];
  const fitting = options.findIndex((_, i) => bytes[i]! > 0 && bytes[i]! <= maxGB * 1e9);
  if (fitting !== 0) warn(`the features of the frozen prefix take ${(bytes[0] / 1e9).toFixed(2)} GB, more than prefixCache.maxGB (${maxGB}): ${fitting < 0 ? 'they are' : `those of ${fitting === 1 ? 'evaluation' : 'training'} are`} computed anew at every step`);
  return fitting < 0 ? [] : [...options[fitting]!];
}

function tasksOf({ training, evaluation }: { training: Prefix; evaluation: Prefix }, { train, evaluated, extra }: TrialData): PrefixTask[] {
  const evaluations = [...Object.values(evaluated), ...Object.values(extra)];
  const task = ({ stage }: Prefix) => (batches: Batches) => ({ stage, batches });
  return [...[train].map(task(training)), ...evaluations.map(task(evaluation))].filter(({ stage }) => stage > 0);
}

async function fill({ trial, model, backbone, engine: { engine, threads }, stop, onEvent }: PrefixWork, tasks: PrefixTask[], { precision, maxGB }: Settings): Promise<void> {
  const { recipe: { resize, normalization, precision: products } } = trial;
  const source = {
    model, base: backbone.tensors, fingerprint: backbone.fingerprint, engine, threads, precision: products, stored: precision,
    images: { resize, normalization }, cacheFolder: cacheFolder(),
  };
  const isThrough = await fillPrefixes(source, tasks, {
    maxBytes: maxGB * 1e9, stopRequested: stop.requested,
    onProgress: (done, total) => onEvent({ type: 'prepare', time: Date.now(), done, total, what: 'computing features', activity: 'features' }),
  });
  if (!isThrough) throw new Stopped('a stop was requested');
}
