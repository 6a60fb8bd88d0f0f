/**
 * The checkpoint: everything that a trial needs to go on where it stood, one safetensors file replaced by rename.
 * Tensors are the session's state, and `best/<name>` where the best epoch's adapter will be kept; the rest is metadata.
 */
import fs from 'node:fs';
import { UserError } from '../common/errors';
import type { EpochScore } from '../common/trial';
import type { EngineId, HostTensors } from '../engine/program';
import { openSafetensors, writeSafetensors, type SafetensorsFile } from '../interop/safetensors';
import type { LossScale } from './loss-scaling';
import type { PartsUsed } from './parts';

/** Where the training stands, beside its tensors. */
export interface Progress {
  /** Optimiser steps done. */
  step: number;
  /** Epochs done, evaluation included. */
  epochs: number;
  /** Of the epoch under way: sum over images of their loss, how many, and seconds in steps. */
  epoch: { lossSum: number; images: number; seconds: number };
  /** Of the last step; null before the first. */
  loss: number | null;
  last: EpochScore | null;
  best: EpochScore | null;
  /** Evaluations since `best`. */
  evaluationsSinceBest: number;
  /** Over all attempts; what a checkpoint does not know of a killed attempt is not in it. */
  seconds: number;
  /** Without the first step of an attempt, which may compile; `isFirst` where there is no other. */
  timed: { images: number; seconds: number; isFirst?: true };
  /** Of f16: what the loss is multiplied by. */
  lossScale?: LossScale;
  /** What computed: `graph, 2 threads`, `graph, 2 threads, frozen prefix cached`; more than one where attempts differed. */
  engines: string[];
}

export interface Checkpoint {
  state: HostTensors;
  /** The best epoch's adapter; null unless it is to be kept. */
  best: HostTensors | null;
  progress: Progress;
  engine: ComputedBy;
}

/** What decides the bits beside seed and data. */
export interface ComputedBy {
  id: EngineId;
  threads: number;
  /** Absent in checkpoints of earlier versions. */
  parts?: PartsUsed;
}

export const initialProgress = (): Progress => ({
  step: 0, epochs: 0, epoch: { lossSum: 0, images: 0, seconds: 0 }, loss: null, last: null, best: null, evaluationsSinceBest: 0, seconds: 0,
  timed: { images: 0, seconds: 0 }, engines: [],
});

const bestPrefix = 'best/';

export async function writeCheckpoint(file: string, trial: string, { state, best, progress, engine }: Checkpoint): Promise<void> {
  const kept = Object.fromEntries(Object.entries(best ?? {}).map(([name, tensor]) => [bestPrefix + name, tensor]));
  await writeSafetensors(file, { ...state, ...kept }, { trial, progress: JSON.stringify(progress), engine: JSON.stringify(engine) });
}

/** Null where there is none yet. UserError when it is damaged or of another trial. */
export async function readCheckpoint(file: string, trial: string): Promise<Checkpoint | null> {
  if (!fs.existsSync(file)) return null;
  const opened = await openSafetensors(file);
  try {
    if (opened.metadata['trial'] !== trial) {
      throw new UserError({ what: `this checkpoint is of trial ${opened.metadata['trial'] ?? '(unnamed)'}, not of ${trial}`, where: file, remedy: 'Delete it; the trial then starts anew.' });
    }
    const tensors: [string, HostTensors[string]][] = [];
    for (const [name, { shape }] of opened.tensors) tensors.push([name, { shape, data: await opened.read(name) }]);
    const best = tensors.filter(([name]) => name.startsWith(bestPrefix)).map(([name, tensor]) => [name.slice(bestPrefix.length), tensor] as const);
    return {
      state: Object.fromEntries(tensors.filter(([name]) => !name.startsWith(bestPrefix))),
      best: best.length ? Object.fromEntries(best) : null,
      ...headerOf(opened),
    };
  } finally {
    await opened.close();
  }
}

/** Progress and engine of a checkpoint, without reading its tensors; null where there is none yet. */
export async function readCheckpointHeader(file: string): Promise<Pick<Checkpoint, 'engine' | 'progress'> | null> {
  if (!fs.existsSync(file)) return null;
  const opened = await openSafetensors(file);
  await opened.close();
  return headerOf(opened);
}

function headerOf({ path, metadata }: SafetensorsFile): Pick<Checkpoint, 'engine' | 'progress'> {
  const { progress, engine } = metadata;
  if (progress === undefined || engine === undefined) throw new UserError({ what: 'this is no checkpoint', where: path, remedy: 'Delete it; the trial then starts anew.' });
  return { progress: JSON.parse(progress) as Progress, engine: JSON.parse(engine) as Checkpoint['engine'] };
}
