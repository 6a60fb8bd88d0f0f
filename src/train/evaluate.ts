/** Logits and metrics of a split, in its samples' order. */
import type { Metrics } from '../common/trial';
import type { Batch, Batches } from '../data/batches';
import type { Session } from '../engine/program';
import { computeMetrics } from './metrics';
import type { Model } from './model';

export interface Evaluated {
  /** [samples, classes], row-major, for `batches.usable`. */
  logits: Float32Array;
  metrics: Metrics;
}

export interface EvaluateOptions {
  /** Has the program `evaluate`. */
  session: Session;
  model: Pick<Model, 'batch' | 'classes'>;
  batches: Batches;
  /** Looked at between batches: true gives up. */
  stopRequested(): boolean;
  onProgress?(done: number, total: number): void;
}

/** Null when a stop was requested meanwhile. */
export async function evaluate({ session, model, batches, stopRequested, onProgress }: EvaluateOptions): Promise<Evaluated | null> {
  const { batch: batchSize, classes } = model;
  const total = batches.usable.length;
  const logits = new Float32Array(total * classes);
  let done = 0;
  for await (const batch of batches.inOrder({ batchSize })) {
    const output = await session.call('evaluate', { patches: patchFeed(batch) });
    logits.set((output['logits']!.data as Float32Array).subarray(0, batch.count * classes), done * classes);
    done += batch.count;
    onProgress?.(done, total);
    await eventLoopTurn();
    if (stopRequested()) return null;
  }
  return { logits, metrics: computeMetrics(logits, batches.usable.map(({ label }) => label), classes) };
}

/** Patches, or what a frozen prefix made of them, as the programs take them: [tokens * batch, columns]. */
export function patchFeed({ patches, columns }: Pick<Batch, 'patches' | 'columns'>) {
  return { shape: [patches.length / columns, columns], data: patches };
}

/** Engines compute on this thread: signals and messages get their turn between two calls. */
export function eventLoopTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}
