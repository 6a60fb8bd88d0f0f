/** Rows of the result tables: one a configuration, means over its seeds. Pure. */
import type { Snapshot, SnapshotTrial } from '../common/snapshot';

export interface ResultRow {
  dataSet: string;
  method: string;
  /** The trial's label without its seed. */
  label: string;
  /** What a search chose, by dotted key. */
  assignment: SnapshotTrial['assignment'];
  seeds: number;
  trainable: number;
  validation: Spread | null;
  /** Of the last epoch. */
  test: Spread | null;
  /** Of the epoch that the validation split chose. */
  testBest: Spread | null;
  seconds: number;
  imagesPerSecond: number | null;
}

/** Over seeds; `deviation` is null for a single one. */
export interface Spread {
  mean: number;
  deviation: number | null;
}

/** Finished trials, in the order of the plan. */
export function resultRows({ trials }: Pick<Snapshot, 'trials'>): ResultRow[] {
  const groups = new Map<string, SnapshotTrial[]>();
  for (const trial of trials.filter(t => t.status === 'finished')) {
    const key = `${trial.dataSet}\n${withoutSeed(trial)}`;
    groups.set(key, [...groups.get(key) ?? [], trial]);
  }
  return [...groups.values()].map(resultRow);
}

export function withoutSeed({ label, seed }: Pick<SnapshotTrial, 'label' | 'seed'>): string {
  return label.replace(` seed=${seed}`, '');
}

function resultRow(trials: readonly SnapshotTrial[]): ResultRow {
  const [first] = trials as [SnapshotTrial];
  return {
    dataSet: first.dataSet, method: first.method, label: withoutSeed(first), assignment: first.assignment, seeds: trials.length,
    trainable: first.parameters.trainable,
    validation: spread(trials.map(t => t.validation?.top1)),
    test: spread(trials.map(t => t.test?.top1)),
    testBest: spread(trials.map(t => t.bestTest?.top1)),
    seconds: spread(trials.map(t => t.trainSeconds))!.mean,
    imagesPerSecond: spread(trials.map(t => t.imagesPerSecond))?.mean ?? null,
  };
}

/** Mean and sample deviation; null unless all have a value. */
function spread(values: readonly (number | null | undefined)[]): Spread | null {
  const known = values.filter(v => v !== null && v !== undefined);
  if (!known.length || known.length < values.length) return null;
  const mean = known.reduce((sum, v) => sum + v, 0) / known.length;
  const variance = known.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (known.length - 1);
  return { mean, deviation: known.length > 1 ? Math.sqrt(variance) : null };
}
