/**
 * Confusions and overlaps of a store's trials, from their predictions. Predictions are large and only change when a trial
 * ends, so what is computed from them is remembered by the trial's version, and they themselves are let go.
 */
import fs from 'node:fs/promises';
import type { Confusion, Overlap } from '../common/snapshot';
import type { Sample } from '../common/trial';
import { storePaths } from '../store/paths';
import { readPredictions } from '../store/predictions';
import type { StoredTrial } from '../store/read';
import { parseLines } from '../store/files';
import { answersOf } from './answers';
import type { Answers } from './answers';
import { confusion } from './confusion';
import { overlap } from './overlap';

/** A trial's confusion; null where it has no predictions yet. Throws when they cannot be read. */
export async function confusionOf(store: string, stored: StoredTrial): Promise<Confusion | null> {
  const chosen = comparedPredictions(stored);
  if (!chosen) return null;
  return await remember(confusions, stored.folder, stored.version, async () => {
    const { answers, samples } = await loadAnswers(store, stored, chosen);
    return confusion(answers, { split: chosen.split, pathOf: pathsOf(samples) });
  });
}

/** The overlaps of all pairs of the given trials, which must be of one data set. */
export async function overlapsOf(store: string, trials: readonly StoredTrial[]): Promise<Overlap[]> {
  const loaded = new Map<string, Promise<LoadedAnswers>>();
  const load = (stored: StoredTrial, chosen: { split: string; file: string }) => {
    if (!loaded.has(stored.folder)) loaded.set(stored.folder, loadAnswers(store, stored, chosen));
    return loaded.get(stored.folder)!;
  };
  const overlaps: Overlap[] = [];
  for (const [a, b] of pairsOf(trials)) {
    const split = comparedPredictions(a)?.split;
    if (!split || comparedPredictions(b)?.split !== split) continue;
    overlaps.push(await remember(pairs, `${a.folder}\n${b.folder}`, `${a.version}\n${b.version}`, async () => {
      const [first, second] = [await load(a, comparedPredictions(a)!), await load(b, comparedPredictions(b)!)];
      return overlap(first.answers, second.answers, { a: a.trial.id, b: b.trial.id, split, pathOf: pathsOf(first.samples) });
    }));
  }
  return overlaps;
}

/** The test split's predictions, else validation's. */
export function comparedPredictions({ predictions }: StoredTrial): { split: string; file: string } | undefined {
  return predictions.find(p => p.split === 'test') ?? predictions.find(p => p.split === 'validation');
}

interface LoadedAnswers {
  answers: Answers;
  /** By id. */
  samples: Map<string, Sample>;
}

async function loadAnswers(store: string, { trial }: StoredTrial, { file }: { file: string }): Promise<LoadedAnswers> {
  const lines = await readSamples(storePaths(store).samples(trial.data.fingerprint));
  const { logits, labels, rows, classes } = await readPredictions(file);
  const samples = Array.from(rows, row => lines[row]?.id ?? `row ${row}`);
  return { answers: answersOf({ classes, samples, labels, logits }), samples: new Map(Array.from(rows, row => lines[row]).flatMap(s => s ? [[s.id, s]] : [])) };
}

/** A samples file never changes: its name is the hash of what it says. */
async function readSamples(file: string): Promise<Sample[]> {
  return await remember(sampleLists, file, '', async () => parseLines(await fs.readFile(file, 'utf8')) as Sample[]);
}

function pathsOf(samples: Map<string, Sample>): (sample: string) => string {
  return id => samples.get(id)?.path ?? id;
}

function pairsOf<T>(items: readonly T[]): [T, T][] {
  return items.flatMap((a, i) => items.slice(i + 1).map(b => [a, b] as [T, T]));
}

interface Remembered<T> { version: string; value: T }
const confusions = new Map<string, Remembered<Confusion>>();
const pairs = new Map<string, Remembered<Overlap>>();
const sampleLists = new Map<string, Remembered<Sample[]>>();

async function remember<T>(known: Map<string, Remembered<T>>, key: string, version: string, compute: () => Promise<T>): Promise<T> {
  const found = known.get(key);
  if (found?.version === version) return found.value;
  const value = await compute();
  known.set(key, { version, value });
  return value;
}
