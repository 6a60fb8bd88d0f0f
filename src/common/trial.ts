/** A trial, its events and its result, as the files of the store hold them. Plain data, read by every side. */
import type { EngineChoice, EngineId } from './engines';
import type { Evaluation, MemorySettings, PrefixCache, Recipe } from './study';

/** The backbone's shape; see vit/architecture.ts for how it is found. */
export interface Architecture {
  /** Side of the square input, in pixels. */
  imageSize: number;
  patch: number;
  width: number;
  depth: number;
  heads: number;
  /** Hidden width of the MLP. */
  hidden: number;
  layerNormEpsilon: number;
  activation: 'gelu' | 'quick-gelu';
  /** A LayerNorm between the embedding and the first block (CLIP); the patch embedding then has no bias. */
  preNorm: boolean;
  patchBias: boolean;
  layerScale: boolean;
  qkvBias: boolean;
  /** Width of CLIP's space of text embeddings, where the head stands on the projection into it; absent otherwise. */
  projection?: number | undefined;
}

export interface ChannelNormalization {
  mean: [number, number, number];
  std: [number, number, number];
}

/** A recipe with nothing left to choose: no search ranges, one seed. */
export type ResolvedRecipe = Omit<Recipe, 'learningRate' | 'weightDecay' | 'dropPath' | 'seeds' | 'normalization'> & {
  learningRate: number;
  weightDecay: number;
  dropPath: number;
  seed: number;
  normalization: ChannelNormalization;
};

export type SplitName = 'train' | 'validation' | 'test';

/** One line of samples/<fingerprint>.jsonl. */
export interface Sample {
  /** Stable over machines: hash of the path relative to the data root, with forward slashes. */
  id: string;
  /** Relative to the data root, with forward slashes. */
  path: string;
  /** Index into the classes; -1 where there is none. */
  label: number;
  /** A SplitName, or that of an extra test set; see extraSplit. */
  split: string;
}

/** The split that an extra test set's samples are in. */
export const extraSplit = (name: string) => `extra/${name}`;
export const isExtraSplit = (split: string) => split.startsWith('extra/');

export interface TrialDataSet {
  name: string;
  /** Absolute folder that the samples' paths are relative to. */
  root: string;
  /** Hash of the contents, labels and splits of all samples; names the file in samples/. */
  fingerprint: string;
  classes: string[];
  /** Absolute roots of the extra test sets by name. */
  extraRoots: Record<string, string>;
  /** Class embeddings that the head starts from; see peft/text-head.ts. */
  textEmbeddings?: { file: string; fingerprint: string; width: number };
  onBadImage: 'stop' | 'skip';
}

/** trial.json: one fully resolved configuration. Its id is `trialId(trial)`. */
export interface Trial {
  id: string;
  study: string;
  backbone: { name: string; file: string; fingerprint: string; architecture: Architecture; warnings: string[] };
  data: TrialDataSet;
  method: { id: string; name: string; version: number; options: Record<string, unknown> };
  recipe: ResolvedRecipe;
  /** Raised when the mathematics of training change. */
  recipeVersion: number;
  evaluation: Evaluation;
  /** What the search chose, by dotted key: { 'options.rank': 8, 'recipe.learningRate': 0.001 }. */
  assignment: Record<string, number | string | boolean>;
  /** Engine asked for; not part of the id. */
  engine: EngineChoice;
  /** Of it only a precision other than f32 is part of the id. Absent in trials of earlier versions, which had none. */
  prefixCache?: PrefixCache;
  /** Not part of the id; absent in trials of earlier versions. */
  memory?: MemorySettings;
  parameters: ParameterCount;
  /** Hash of the adapter that `recipe.init` names; stands in the id for its path. */
  initFingerprint?: string;
}

export interface ParameterCount {
  /** Trained, without the head. */
  trainable: number;
  head: number;
  /** Everything: backbone, inserted and head. */
  total: number;
  backbone: number;
}

export interface Metrics {
  loss: number;
  top1: number;
  balancedAccuracy: number;
  macroF1: number;
  samples: number;
}

/** One line of events.jsonl; `time` is milliseconds since 1970. */
export type TrialEvent =
  | { type: 'phase'; time: number; phase: 'preparing' | 'training' | 'evaluating'; detail?: string }
  /** Before the first step: decoding, or computing the features of a frozen prefix. */
  | { type: 'prepare'; time: number; done: number; total: number; what: string; activity?: 'features' }
  | { type: 'step'; time: number; step: number; totalSteps: number; epoch: number; epochs: number; loss: number; learningRate: number; imagesPerSecond: number }
  | { type: 'epoch'; time: number; epoch: number; step: number; train: { loss: number }; validation?: Metrics; test?: Metrics; seconds: number; imagesPerSecond: number }
  | { type: 'warning'; time: number; message: string }
  | { type: 'resumed'; time: number; step: number; epoch: number };

/** attempt.json: one execution of a trial. */
export interface Attempt {
  number: number;
  started: number;
  pid: number;
  host: string;
  engine: string;
  threads: number;
  versions: Record<string, string>;
  resumedFromStep: number;
  /** With `auto`: every engine and why it was taken or left; absent where there was nothing to choose. */
  choice?: { engine: string; chosen: boolean; why: string }[];
}

/** exit.json of an attempt. */
export interface AttemptExit {
  finished: number;
  outcome: 'done' | 'cancelled' | 'failed';
  /** A UserError's message, or a stack. */
  error?: string;
  errorIsUserError?: boolean;
  /** The engine that failed or took the process with it: another one may go on from the checkpoint. */
  engineFailed?: EngineId;
}

/** result.json: exists = the trial is finished. */
export interface TrialResult {
  trial: string;
  finished: number;
  engines: string[];
  bitReproducible: boolean;
  /** Engines that failed on the way, and how; absent where none did. */
  failedEngines?: { engine: EngineId; why: string }[];
  steps: number;
  epochs: number;
  /** Seconds in training steps over all attempts. */
  trainSeconds: number;
  /** What a frozen prefix spared; absent where nothing was cached. */
  prefix?: PrefixUse;
  imagesPerSecond: number;
  peakMemoryMiB: number;
  last: EpochScore;
  best: EpochScore;
  /** Which split and metric chose `best` and the kept adapter; null when there was no validation split. */
  selection: { split: 'validation' | 'test'; metric: Recipe['selection']['metric']; keptEpoch: number };
  extra: Record<string, Metrics>;
  parameters: ParameterCount;
  skippedImages: { path: string; reason: string }[];
  classCounts: Record<string, number[]>;
  warnings: string[];
}

/** How much of the forward pass was computed before the first step, by stages of vit/stages.ts; 0 is nothing. */
export interface PrefixUse {
  training: number;
  evaluation: number;
  /** Spent on it by the last attempt, reading what was there included. */
  seconds: number;
}

export interface EpochScore {
  epoch: number;
  trainLoss: number;
  validation?: Metrics;
  test?: Metrics;
}
