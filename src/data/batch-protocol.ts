/** What the training loop's thread and the loader's thread say to each other. */
import { UserError } from '../common/errors';
import type { Recipe } from '../common/study';
import type { ChannelNormalization, Sample } from '../common/trial';

/** What the loader's thread is started with. */
export interface LoaderOptions {
  root: string;
  samples: Sample[];
  imageSize: number;
  patch: number;
  normalization: ChannelNormalization;
  resize: Recipe['resize'];
  augmentation: Recipe['augmentation'];
  cacheFolder: string;
  onBadImage: 'stop' | 'skip';
  seed: number;
}

export interface MaskPlan {
  name: string;
  shape: readonly number[];
  /** Share of zeros. */
  rate: number;
}

/**
 * Finished inputs on disk in place of images: for each image, by its content, a matrix of `rows` rows of `columns` numbers
 * that take the place of its patches. Written by whoever computed them; see segment-cache.ts.
 */
export interface RecordSource {
  folder: string;
  rows: number;
  columns: number;
  precision: 'f32' | 'f16';
}

export interface StreamPlan {
  /** Which of the usable samples, in this order, from images even where records are at hand; all of them when absent. */
  only?: readonly number[];
  /** Random crops and flips, shuffling and masks belong to training; an evaluation sees each image once, in order. */
  purpose: 'training' | 'evaluation';
  firstStep: number;
  /** Exclusive. */
  lastStep: number;
  batchSize: number;
  shuffle: boolean;
  dropLast: boolean;
  masks: readonly MaskPlan[];
}

/** The arrays of a batch, which go back and forth between the threads. */
export interface BatchBuffers {
  patches: Float32Array;
  masks: Record<string, Uint8Array>;
}

export interface BatchMessage extends BatchBuffers {
  step: number;
  epoch: number;
  count: number;
  indices: Int32Array;
  labels: Int32Array;
  columns: number;
}

export type ToLoader =
  | { type: 'start'; stream: number; plan: StreamPlan }
  /** The caller is done with a batch. */
  | { type: 'recycle'; stream: number; buffers: BatchBuffers }
  | { type: 'stop'; stream: number }
  /** From now on streams read records; or images again. */
  | { type: 'records'; source: RecordSource }
  | { type: 'images' };

export type FromLoader =
  | { type: 'progress'; done: number; total: number }
  | { type: 'ready'; usable: number[]; contents: string[]; skipped: { path: string; reason: string }[] }
  /** Which of the usable samples have no record, or a damaged one; if any, streams stay with images. */
  | { type: 'records'; missing: number[] }
  | { type: 'batch'; stream: number; batch: BatchMessage }
  | { type: 'end'; stream: number }
  /** Without a stream: preparation failed. */
  | { type: 'error'; stream?: number; error: SentError };

/** An error as a message can carry it. */
export type SentError = { user: { what: string; where: string | undefined; remedy: string | undefined } } | { message: string; stack: string | undefined };

export function sendError(error: unknown): SentError {
  if (error instanceof UserError) return { user: { what: error.what, where: error.where, remedy: error.remedy } };
  return error instanceof Error ? { message: error.message, stack: error.stack } : { message: String(error), stack: undefined };
}

export function receiveError(sent: SentError): Error {
  if ('user' in sent) return new UserError(sent.user);
  return Object.assign(new Error(sent.message), sent.stack === undefined ? {} : { stack: sent.stack });
}

/** For `postMessage`: the memory that moves instead of being copied. */
export function transferList({ patches, masks }: BatchBuffers): ArrayBuffer[] {
  return [patches, ...Object.values(masks)].map(array => array.buffer as ArrayBuffer);
}
