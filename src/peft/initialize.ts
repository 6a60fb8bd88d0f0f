/** First values of an adapter: base tensors are copied or taken, the others made by (seed, name), whatever else is made. */
import { normals, streamKey, uniform, type StreamKey } from '../common/random';
import type { HostTensor, HostTensors } from '../engine/program';
import type { TensorDeclaration } from './method';
import type { AdapterTensor } from './trainable';

export interface InitializeOptions {
  base: HostTensors;
  /** Base tensors that train are not copied: nobody needs the backbone as it was once these have changed. */
  takesBase?: boolean;
  seed: number;
  /** Gradients of the first batches by base tensor; those that `gradientsNeeded` names. Absent: not known yet, zeros stand in. */
  gradients?: HostTensors;
}

export function initialize(tensors: readonly AdapterTensor[], options: InitializeOptions): HostTensors {
  return Object.fromEntries(tensors.map(tensor => [
    tensor.name, tensor.source === 'base' ? startOfBase(tensor.name, options) : draw(tensor, options),
  ]));
}

/** Base tensors whose gradient on the first batch decides first values. */
export function gradientsNeeded(tensors: readonly AdapterTensor[]): string[] {
  return [...new Set(tensors.flatMap(tensor => tensor.source !== 'base' && tensor.initial.kind === 'computed' ? tensor.initial.gradients ?? [] : []))];
}

/** First values of those tensors that gradients decide. */
export function initializeByGradients(tensors: readonly AdapterTensor[], options: InitializeOptions & { gradients: HostTensors }): HostTensors {
  return initialize(tensors.filter(tensor => gradientsNeeded([tensor]).length > 0), options);
}

/** Over how many batches those gradients are summed. */
export function gradientBatches(tensors: readonly AdapterTensor[]): number {
  return Math.max(1, ...tensors.map(tensor => (tensor.source !== 'base' && tensor.initial.kind === 'computed' ? tensor.initial.gradientBatches ?? 1 : 1)));
}

function startOfBase(name: string, { base, takesBase = false }: InitializeOptions): HostTensor {
  const data = valuesOf(base, name, 'the backbone has');
  return { shape: base[name]!.shape, data: takesBase ? data : data.slice() };
}

function valuesOf(tensors: HostTensors, name: string, whoHas: string): Float32Array {
  const found = tensors[name];
  if (!found) throw new Error(`${whoHas} no tensor '${name}'`);
  return found.data as Float32Array;
}

function draw({ name, shape, initial }: TensorDeclaration, { base, seed, gradients }: InitializeOptions): HostTensor {
  const count = shape.reduce((a, b) => a * b, 1);
  const key = streamKey(seed, 'initial', name);
  switch (initial.kind) {
    case 'constant': return { shape, data: new Float32Array(count).fill(initial.value) };
    case 'uniform': return { shape, data: Float32Array.from({ length: count }, (_, i) => (2 * uniform(key, i) - 1) * initial.limit) };
    case 'normal': return { shape, data: cutNormals(key, count, initial.cutoff ?? Infinity).map(x => x * initial.std + (initial.mean ?? 0)) };
    case 'centre-tap': return { shape, data: centreTap(shape) };
    case 'computed': return {
      shape,
      data: Float32Array.from(initial.values({
        base: of => valuesOf(base, of, 'the backbone has'),
        gradient: of => gradients ? valuesOf(gradients, of, 'the first batches gave the gradient of') : valuesOf(base, of, 'the backbone has').map(() => 0),
        normals: wanted => normals(key, wanted),
      })),
    };
    default: return initial satisfies never;
  }
}

/** Standard normal values within `cutoff`: those beyond it are replaced by the next ones drawn. */
function cutNormals(key: StreamKey, count: number, cutoff: number): Float32Array {
  if (cutoff === Infinity) return normals(key, count);
  for (let drawn = count + 64; ; drawn *= 2) {
    const kept = normals(key, drawn).filter(x => Math.abs(x) <= cutoff);
    if (kept.length >= count) return kept.slice(0, count);
  }
}

function centreTap([channels, , height, width]: readonly number[]): Float32Array {
  const [area, middle] = [height! * width!, Math.floor(height! / 2) * width! + Math.floor(width! / 2)];
  const kernel = new Float32Array(channels! * channels! * area);
  for (let c = 0; c < channels!; c++) kernel[(c * channels! + c) * area + middle] = 1;
  return kernel;
}
