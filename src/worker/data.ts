/** The trial's images as batches: what trains, and every split that is evaluated. */
import { cacheFolder } from '../common/paths';
import { extraSplit, type Sample, type Trial, type TrialEvent } from '../common/trial';
import { openBatches, type Batches } from '../data/batches';
import type { EvaluatedSplit } from '../train/loop';

export interface TrialData {
  train: Batches;
  evaluated: Partial<Record<EvaluatedSplit, Batches>>;
  /** Extra test sets by name. */
  extra: Record<string, Batches>;
  /** Of everything opened. */
  skipped: { path: string; reason: string }[];
  /** Samples of each class, by split, without those skipped. */
  classCounts: Record<string, number[]>;
  /** Makes every split read its images, whatever it read before. */
  readImages(): void;
  close(): Promise<void>;
}

export async function openTrialData(trial: Trial, samples: readonly Sample[], onEvent: (event: TrialEvent) => void): Promise<TrialData> {
  const { recipe: { augmentation }, evaluation, data } = trial;
  const opened: Batches[] = [];
  const open = async (what: string, splits: string[], options: Partial<OpenOptions> = {}) => {
    const batches = await openSplit({ trial, samples: samples.filter(({ split }) => splits.includes(split)), what, onEvent, augmentation: [], root: data.root, ...options });
    opened.push(batches);
    return batches;
  };
  try {
    const train = await open('train', trainedSplits(trial.recipe), { augmentation });
    const evaluated: TrialData['evaluated'] = {};
    for (const split of evaluatedSplits(trial, samples)) evaluated[split] = await open(split, [split]);
    const extra: TrialData['extra'] = {};
    for (const { name } of evaluation.extra) extra[name] = await open(name, [extraSplit(name)], { root: data.extraRoots[name] ?? data.root });
    return {
      train, evaluated, extra,
      skipped: opened.flatMap(({ skipped }) => skipped),
      classCounts: countClasses({ train, ...evaluatedBySplit({ evaluated, extra }) }, data.classes.length),
      readImages: () => opened.forEach(batches => batches.readImages()),
      close: async () => { await Promise.all(opened.map(batches => batches.close())); },
    };
  } catch (error) {
    await Promise.all(opened.map(batches => batches.close()));
    throw error;
  }
}

/** Everything that is evaluated, by split. */
export function evaluatedBySplit({ evaluated, extra }: Pick<TrialData, 'evaluated' | 'extra'>): Record<string, Batches> {
  return { ...evaluated, ...Object.fromEntries(Object.entries(extra).map(([name, batches]) => [extraSplit(name), batches])) };
}

interface OpenOptions {
  trial: Trial;
  samples: Sample[];
  what: string;
  root: string;
  augmentation: Trial['recipe']['augmentation'];
  onEvent(event: TrialEvent): void;
}

function openSplit({ trial, samples, what, root, augmentation, onEvent }: OpenOptions): Promise<Batches> {
  const { backbone: { architecture: { imageSize, patch } }, recipe: { normalization, resize, seed }, data: { onBadImage } } = trial;
  return openBatches({
    root, samples, imageSize, patch, normalization, resize, augmentation, onBadImage, seed, cacheFolder: cacheFolder(),
    onProgress: (done, total) => onEvent({ type: 'prepare', time: Date.now(), done, total, what }),
  });
}

export function trainedSplits({ trainOn }: Pick<Trial['recipe'], 'trainOn'>): string[] {
  return trainOn === 'train' ? ['train'] : ['train', 'validation'];
}

/** What is trained on is not evaluated: nothing would be learnt from it. */
function evaluatedSplits({ recipe, evaluation }: Trial, samples: readonly Sample[]): EvaluatedSplit[] {
  const wanted = evaluation.splits.filter(split => split === 'test' || recipe.trainOn === 'train');
  return wanted.filter(split => samples.some(sample => sample.split === split));
}

function countClasses(splits: Record<string, Batches>, classes: number): Record<string, number[]> {
  return Object.fromEntries(Object.entries(splits).map(([split, { usable }]) => {
    const counts = new Array<number>(classes).fill(0);
    for (const { label } of usable) if (label >= 0) counts[label]! += 1;
    return [split, counts];
  }));
}
