/** First values of what trains: base tensors are copied, the others drawn by (seed, name), whatever else is drawn. */
import { normals, streamKey, uniform } from '../common/random';
import type { HostTensor, HostTensors } from '../engine/program';
import type { TensorDeclaration } from './method';
import type { TrainableTensor } from './trainable';

export function initialize(tensors: readonly TrainableTensor[], { base, seed }: { base: HostTensors; seed: number }): HostTensors {
  return Object.fromEntries(tensors.map(tensor => [
    tensor.name, tensor.source === 'base' ? copyOf(base, tensor.name) : draw(tensor, seed),
  ]));
}

function copyOf(base: HostTensors, name: string): HostTensor {
  const found = base[name];
  if (!found) throw new Error(`the backbone has no tensor '${name}'`);
  return { shape: found.shape, data: Float32Array.from(found.data) };
}

function draw({ name, shape, initial }: TensorDeclaration, seed: number): HostTensor {
  const count = shape.reduce((a, b) => a * b, 1);
  const key = streamKey(seed, 'initial', name);
  switch (initial.kind) {
    case 'constant': return { shape, data: new Float32Array(count).fill(initial.value) };
    case 'uniform': return { shape, data: Float32Array.from({ length: count }, (_, i) => (2 * uniform(key, i) - 1) * initial.limit) };
    case 'normal': return { shape, data: normals(key, count).map(x => x * initial.std + (initial.mean ?? 0)) };
    default: return initial satisfies never;
  }
}
