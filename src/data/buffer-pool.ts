/** Memory for batches, used again by whoever needs the same shape. */
import type { BatchBuffers, LoaderOptions, StreamPlan } from './batch-protocol';
import { patchLength } from './patchify';

export interface BufferPool {
  take(plan: StreamPlan): BatchBuffers;
  put(buffers: BatchBuffers): void;
}

/** Kept at most; what comes back beyond that is let go. */
const kept = 4;

export function openBufferPool({ imageSize, patch }: Pick<LoaderOptions, 'imageSize' | 'patch'>): BufferPool {
  let free: BatchBuffers[] = [];
  return {
    take({ batchSize, masks }) {
      const length = patchLength({ imageSize, patch, batch: batchSize });
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
