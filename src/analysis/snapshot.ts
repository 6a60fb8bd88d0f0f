import path from 'node:path';
import { describeError } from '../common/errors';
import { rankTrials } from '../common/ranking';
import type { Overlap, Snapshot, SnapshotDataSet, SnapshotTrial } from '../common/snapshot';
import { readStore } from '../store/read';
import type { StoreContents, StoredTrial } from '../store/read';
import { comparedPredictions, confusionOf, overlapsOf } from './comparisons';
import { labelTrials } from './labels';
import { secondsLeft } from './progress';
import { snapshotTrial, trialTime } from './snapshot-trial';

/** Trials of one data set that are compared in pairs, best first: 40 make 780 pairs. */
const comparedTrials = 40;
/** Examples that all overlaps together may carry, so that a snapshot stays within a few megabytes. */
const exampleBudget = 20_000;

/**
 * Everything that the panel, the report and the tables show, from a store folder. Called once a second while a study
 * runs: trials that did not change since the last call are taken from memory. A store that is not there yet is empty.
 * Equal stores give equal snapshots, so whoever sends them can leave out repetitions.
 */
export async function buildSnapshot(storeFolder: string): Promise<Snapshot> {
  const store = await readStore(storeFolder);
  const labels = labelTrials(store.trials.map(t => t.trial));
  const trials = await Promise.all(store.trials.map(t => rememberedTrial(store.folder, t, labels.get(t.trial.id)!)));
  return {
    study: { name: store.study?.name ?? path.basename(storeFolder, '.peft'), file: store.study?.file ?? '', store: storeFolder },
    running: store.launcher !== null,
    updated: Math.max(0, store.study?.updated ?? 0, ...store.trials.map(lastChange)),
    progress: progressOf(store, trials),
    dataSets: dataSetsOf(store),
    trials,
    overlaps: trimExamples(await allOverlaps(store, trials)),
    warnings: [...new Set([...store.study?.warnings ?? [], ...store.trials.flatMap(t => t.trial.backbone.warnings)])],
  };
}

const remembered = new Map<string, { version: string; value: SnapshotTrial }>();

async function rememberedTrial(store: string, stored: StoredTrial, label: string): Promise<SnapshotTrial> {
  const version = `${label}\n${stored.version}`;
  const known = remembered.get(stored.folder);
  if (known?.version === version) return known.value;
  const value = await withConfusion(store, stored, snapshotTrial(stored, label));
  remembered.set(stored.folder, { version, value });
  return value;
}

/** A broken predictions file costs the comparison of this trial, not the view of the study. */
async function withConfusion(store: string, stored: StoredTrial, trial: SnapshotTrial): Promise<SnapshotTrial> {
  try {
    return { ...trial, confusion: await confusionOf(store, stored) };
  } catch (error) {
    return { ...trial, warnings: [...trial.warnings, `Its predictions cannot be read: ${describeError(error)}`] };
  }
}

async function allOverlaps(store: StoreContents, trials: readonly SnapshotTrial[]): Promise<Overlap[]> {
  const stored = new Map(store.trials.map(t => [t.trial.id, t]));
  const comparable = trials.filter(t => t.confusion && comparedPredictions(stored.get(t.id)!));
  const fingerprints = [...new Set(store.trials.map(t => t.trial.data.fingerprint))];
  const groups = fingerprints.map(f => rankTrials(comparable.filter(t => stored.get(t.id)!.trial.data.fingerprint === f)).slice(0, comparedTrials));
  const overlaps: Overlap[] = [];
  for (const group of groups) overlaps.push(...await overlapsOf(store.folder, group.map(t => stored.get(t.id)!)));
  return overlaps;
}

function trimExamples(overlaps: readonly Overlap[]): Overlap[] {
  const limit = Math.floor(exampleBudget / (3 * Math.max(1, overlaps.length)));
  return overlaps.map(o => ({
    ...o,
    examples: {
      onlyAWrong: o.examples.onlyAWrong.slice(0, limit),
      onlyBWrong: o.examples.onlyBWrong.slice(0, limit),
      bothWrong: o.examples.bothWrong.slice(0, limit),
    },
  }));
}

function progressOf(store: StoreContents, trials: readonly SnapshotTrial[]): Snapshot['progress'] {
  const running = trials.filter(t => t.status === 'running');
  const times = store.trials.map(trialTime);
  return {
    finished: trials.filter(t => t.status === 'finished').length,
    failed: trials.filter(t => t.status === 'failed').length,
    total: trials.length,
    secondsLeft: store.launcher ? secondsLeft(times, running.length) : null,
    current: running.map(t => store.study && store.study.dataSets.length > 1 ? `${t.label} on ${t.dataSet}` : t.label).join(', ') || null,
  };
}

function dataSetsOf({ study, trials }: StoreContents): SnapshotDataSet[] {
  if (study) return study.dataSets.map(({ name, root, classes, classCounts }) => ({ name, root, classes, classCounts }));
  const byName = new Map(trials.map(({ trial: { data }, result }) => [
    data.name, { name: data.name, root: data.root, classes: data.classes, classCounts: result?.classCounts ?? {} },
  ]));
  return [...byName.values()];
}

function lastChange({ result, attempts, events }: StoredTrial): number {
  return Math.max(result?.finished ?? 0, attempts.at(-1)?.exit?.finished ?? 0, events.at(-1)?.time ?? 0);
}
