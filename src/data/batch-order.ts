/** Which samples and masks a step sees: functions of seed and step alone, so that training can start at any of them. */
import { fillKeepMask, permutation, streamKey } from '../common/random';
import type { MaskPlan } from './batch-protocol';

export interface OrderOptions {
  samples: number;
  batchSize: number;
  dropLast: boolean;
  shuffle: boolean;
  seed: number;
}

export function stepsPerEpoch({ samples, batchSize, dropLast }: Pick<OrderOptions, 'samples' | 'batchSize' | 'dropLast'>): number {
  return dropLast ? Math.floor(samples / batchSize) : Math.ceil(samples / batchSize);
}

export interface StepSamples {
  epoch: number;
  /** At most batchSize of them; fewer in the last batch of an epoch that keeps it. */
  indices: Int32Array;
}

/** Remembers one epoch's order, which consecutive steps share. */
export function openOrder(options: OrderOptions): (step: number) => StepSamples {
  const steps = stepsPerEpoch(options), { batchSize, samples, shuffle, seed } = options;
  let known = -1, order: Int32Array = Int32Array.from({ length: samples }, (_, i) => i);
  return step => {
    const epoch = Math.floor(step / steps), start = (step % steps) * batchSize;
    if (shuffle && epoch !== known) order = permutation(streamKey(seed, 'order', epoch), samples);
    known = epoch;
    return { epoch, indices: order.slice(start, start + batchSize) };
  };
}

/** Fills `mask` with those elements that the step keeps (1) and drops (0). */
export function drawMask(mask: Uint8Array, { name, rate }: MaskPlan, { seed, step }: { seed: number; step: number }): void {
  fillKeepMask(mask, rate, streamKey(seed, 'mask', name, step));
}
