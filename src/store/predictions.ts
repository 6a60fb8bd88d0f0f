/**
 * predictions/<split>.safetensors: `logits` f16 [samples, classes], `labels` i32 [samples], and `rows` i32 [samples],
 * the line of each sample in the store's samples file (0 first), so that predictions of several trials can be joined.
 */
import fs from 'node:fs';
import path from 'node:path';
import { UserError } from '../common/errors';
import type { Sample } from '../common/trial';
import { openSafetensors, writeSafetensors } from '../interop/safetensors';
import { writeError } from './files';

export interface Predictions {
  /** Row-major [samples, classes]. */
  logits: Float32Array;
  /** -1 where the sample has none. */
  labels: Int32Array;
  /** Lines of the samples file. */
  rows: Int32Array;
  classes: number;
}

export interface PredictionsInput {
  file: string;
  /** Of the data set. */
  fingerprint: string;
  classes: number;
  logits: Float32Array;
  samples: readonly Sample[];
  /** The samples file. */
  all: readonly Sample[];
}

export async function writePredictions({ file, fingerprint, classes, logits, samples, all }: PredictionsInput): Promise<void> {
  if (logits.length !== samples.length * classes) throw new Error(`${logits.length} logits for ${samples.length} samples of ${classes} classes`);
  const lines = new Map(all.map((sample, row) => [rowKey(sample), row]));
  const rows = Int32Array.from(samples, sample => lines.get(rowKey(sample)) ?? -1);
  const shape = [samples.length];
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    await writeSafetensors(file, {
      logits: { shape: [samples.length, classes], data: logits, dtype: 'F16' },
      labels: { shape, data: Int32Array.from(samples, s => s.label), dtype: 'I32' },
      rows: { shape, data: rows, dtype: 'I32' },
    }, { samples: fingerprint });
  } catch (error) {
    throw writeError(file, error);
  }
}

export async function readPredictions(file: string): Promise<Predictions> {
  const tensors = await openSafetensors(file);
  try {
    const [, classes] = tensors.tensors.get('logits')?.shape ?? [];
    if (classes === undefined) throw new UserError({ what: 'this file holds no predictions', where: file, remedy: 'Delete it and run the study again.' });
    return {
      logits: await tensors.read('logits'),
      labels: toIntegers(await tensors.readRaw('labels')),
      rows: toIntegers(await tensors.readRaw('rows')),
      classes,
    };
  } finally {
    await tensors.close();
  }
}

/** One image may stand in several splits (an extra test set under the same root). */
function rowKey({ id, split }: Sample): string {
  return `${split}\n${id}`;
}

/** i32, little-endian. The copy aligns the bytes. */
function toIntegers(bytes: Uint8Array): Int32Array {
  return new Int32Array(Uint8Array.from(bytes).buffer);
}
