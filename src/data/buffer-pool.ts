/** Memory for batches, used again by whoever needs the same shape. */
import type { BatchBuffers, StreamPlan } from './batch-protocol';

export interface BufferPool {
  /** `length` numbers for the patches, and what the masks take. */
  take(plan: Pick<StreamPlan, 'masks'>, length: number): BatchBuffers;
  put(buffers: BatchBuffers): void;
}

/** Kept at most; what comes back beyond that is let go. */
const kept = 4;

export function openBufferPool(): BufferPool {
  let free: BatchBuffers[] = [];
  return {
    take({ masks }, length) {
      const sizes = masks.map(({ name, shape }) => [name, shape.reduce((a, b) => a * b, 1)] as const);
      const fits = (one: BatchBuffers) => one.patches.length === length && Object.keys(one.masks).length === sizes.length && sizes.every(([name, size]) => one.masks[name]?.length === size);
      const found = free.find(fits);
      free = free.filter(one => one !== found);
      return found ?? { patches: new Float32Array(length), masks: Object.fromEntries(sizes.map(([name, size]) => [name, new Uint8Array(size)])) };
    },
    put(buffers) {
      free = [...free, buffers].slice(-kept);
    },
  };
}
