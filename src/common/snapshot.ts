/**
 * Everything the panel, the report and the terminal table show, one plain object, computed by pure functions from the
 * store (analysis/snapshot.ts). The panel holds nothing else.
 */
import type { Metrics, ParameterCount } from './trial';

export type TrialStatus = 'queued' | 'running' | 'finished' | 'failed' | 'cancelled' | 'interrupted';

export interface Snapshot {
  study: { name: string; file: string; store: string };
  /** A launcher holds the lock and its heartbeat is fresh. */
  running: boolean;
  updated: number;
  progress: { finished: number; failed: number; total: number; secondsLeft: number | null; current: string | null };
  dataSets: SnapshotDataSet[];
  trials: SnapshotTrial[];
  /** Pairs of finished trials on one data set; computed on the test split (validation when there is no test split). */
  overlaps: Overlap[];
  warnings: string[];
}

export interface SnapshotDataSet {
  name: string;
  root: string;
  classes: string[];
  /** Samples per class by split. */
  classCounts: Record<string, number[]>;
}

export interface SnapshotTrial {
  id: string;
  dataSet: string;
  backbone: string;
  method: string;
  /** What to call it: method name plus what the search chose, e.g. `lora rank=8`. */
  label: string;
  options: Record<string, unknown>;
  assignment: Record<string, number | string | boolean>;
  learningRate: number;
  weightDecay: number;
  seed: number;
  status: TrialStatus;
  error: string | null;
  parameters: ParameterCount;
  engine: string | null;
  /** What a running trial does besides training: `reading images, 161 of 800`. */
  phase?: string;
  epoch: number;
  epochs: number;
  /** Latest numbers; null until there are some. */
  validation: Metrics | null;
  test: Metrics | null;
  bestEpoch: number | null;
  bestValidation: Metrics | null;
  bestTest: Metrics | null;
  trainSeconds: number;
  imagesPerSecond: number | null;
  peakMemoryMiB: number | null;
  /** Per optimiser step, thinned to at most 400 points. */
  lossCurve: { step: number; loss: number }[];
  accuracyCurve: { epoch: number; validation: number | null; test: number | null }[];
  confusion: Confusion | null;
  warnings: string[];
}

/** Rows are the true class, columns the predicted one. */
export interface Confusion {
  split: string;
  matrix: number[][];
  /** Wrongly classified samples, at most 200, surest first. */
  mistakes: Mistake[];
}

export interface Mistake {
  sample: string;
  /** Relative to the data set's root. */
  path: string;
  label: number;
  predicted: number;
  /** Probability given to the predicted class. */
  confidence: number;
}

export interface Overlap {
  a: string;
  b: string;
  split: string;
  samples: number;
  bothRight: number;
  onlyAWrong: number;
  onlyBWrong: number;
  bothWrong: number;
  /** Both wrong and with the same wrong answer. */
  sameMistake: number;
  /** Accuracy of the mean of the two probability vectors. */
  ensembleTop1: number;
  /** At most 60 samples of each kind. */
  examples: { onlyAWrong: PairMistake[]; onlyBWrong: PairMistake[]; bothWrong: PairMistake[] };
}

export interface PairMistake {
  sample: string;
  path: string;
  label: number;
  predictedA: number;
  predictedB: number;
}
