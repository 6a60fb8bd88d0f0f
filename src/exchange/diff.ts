/**
 * How two adapters change their backbone, layer by layer: the norm and the effective rank of each one's change of a weight,
 * and the angle between the two. Adapters that fold are compared by the folded change; for others their own tensors are.
 *
 * Effective rank: exp of the entropy of the singular values, each as a share of their sum (Roy and Vetterli, The effective
 * rank, EUSIPCO 2007). Angle: arccos of <A, B> / (|A| |B|), matrices taken as vectors.
 */
import { UserError } from '../common/errors';
import type { HostTensor, HostTensors } from '../engine/program';
import { checkBackbone, type Adapter } from '../peft/adapter';
import { foldAdapter } from '../peft/fold';
import { findMethod } from '../peft/registry';
import type { Backbone } from '../vit/weights';
import { singularValues } from './singular-values';

export interface AdapterDiff {
  /** weights: changes of the backbone's tensors. tensors: the adapters' own, where one of them cannot be folded. */
  compared: 'weights' | 'tensors';
  /** Why not weights. */
  reason: string | null;
  layers: LayerDiff[];
}

export interface LayerDiff {
  /** timm's name, or that of the adapter's own tensor. */
  name: string;
  shape: readonly number[];
  /** Frobenius norms; null where an adapter has no such tensor. */
  norms: [number | null, number | null];
  /** Of the backbone's own tensor; null without it. */
  baseNorm: number | null;
  /** Of matrices; null for vectors and for no change. */
  effectiveRanks: [number | null, number | null];
  /** Degrees between the two; null where one does not change it. */
  angle: number | null;
}

export interface DiffOptions {
  adapters: readonly [Adapter, Adapter];
  backbone: Backbone | null;
  onProgress?(done: number, total: number): void;
}

/** UserError when the two belong to different backbones, or neither can be compared. */
export function diffAdapters({ adapters, backbone, onProgress }: DiffOptions): AdapterDiff {
  checkSameBackbone(adapters);
  const { changes, reason } = changesOf(adapters, backbone);
  const names = [...new Set(changes.flatMap(change => Object.keys(change)))].filter(name => !name.startsWith('head.')).sort(byBlock);
  if (reason !== null && !names.some(name => changes.every(change => name in change))) {
    throw new UserError({
      what: `their own tensors have no name in common, and ${reason}`, where: adapters.map(({ folder }) => folder).join(', '),
      remedy: 'Compare two adapters that fold into the backbone (with --backbone), or two of one method.',
    });
  }
  const layers = names.map((name, index) => {
    onProgress?.(index, names.length);
    return layerDiff(name, changes.map(change => change[name]) as [HostTensor | undefined, HostTensor | undefined], reason === null ? backbone?.tensors[name] : undefined);
  }).filter(({ norms }) => norms.some(norm => norm !== null && norm > 0));
  return { compared: reason === null ? 'weights' : 'tensors', reason, layers };
}

function checkSameBackbone([{ folder, manifest: { backbone: a } }, { manifest: { backbone: b } }]: DiffOptions['adapters']): void {
  const differs = a.fingerprint !== null && b.fingerprint !== null && a.fingerprint !== b.fingerprint;
  if (!differs && a.architecture.width === b.architecture.width && a.architecture.depth === b.architecture.depth) return;
  throw new UserError({ what: `it was trained on ${a.name}, and the other on ${b.name}`, where: folder, remedy: 'Compare adapters of one backbone.' });
}

function changesOf(adapters: DiffOptions['adapters'], backbone: Backbone | null): { changes: HostTensors[]; reason: string | null } {
  if (!backbone) return { changes: adapters.map(({ tensors }) => tensors), reason: 'without a backbone nothing can be folded' };
  for (const adapter of adapters) checkBackbone(adapter, backbone);
  try {
    return { changes: adapters.map(adapter => weightChange(adapter, backbone)), reason: null };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { changes: adapters.map(({ tensors }) => tensors), reason: error.what };
  }
}

/** Folded weights less the backbone's; tensors that folding leaves alone are left out. */
function weightChange({ manifest: { method: { id, options } }, tensors }: Adapter, { architecture, tensors: base }: Backbone): HostTensors {
  const folded = foldAdapter({ method: findMethod(id), options, architecture, base, trained: tensors });
  const changed = Object.keys(base).filter(name => folded[name]!.data !== base[name]!.data);
  return Object.fromEntries(changed.map(name => {
    const before = base[name]!.data;
    return [name, { shape: base[name]!.shape, data: Float32Array.from(folded[name]!.data, (value, i) => value - before[i]!) }];
  }));
}

function layerDiff(name: string, tensors: [HostTensor | undefined, HostTensor | undefined], base: HostTensor | undefined): LayerDiff {
  const [a, b] = tensors;
  const norms = tensors.map(tensor => (tensor ? norm(tensor.data) : null)) as LayerDiff['norms'];
  const comparable = a && b && a.shape.join() === b.shape.join() && norms.every(n => n !== null && n > 0);
  return {
    name, shape: (a ?? b)!.shape, norms, baseNorm: base ? norm(base.data) : null,
    effectiveRanks: tensors.map((tensor, i) => (tensor && norms[i]! > 0 ? effectiveRank(tensor, base) : null)) as LayerDiff['effectiveRanks'],
    angle: comparable ? angle(dot(a.data, b.data) / (norms[0]! * norms[1]!)) : null,
  };
}

/** Of a matrix, a convolution's kernel being [out, rest]; null for a vector. Rounding of the base's weights counts as nothing. */
function effectiveRank({ shape, data }: HostTensor, base: HostTensor | undefined): number | null {
  const rows = shape[0] ?? 1, columns = data.length / rows;
  if (Math.min(rows, columns) < 2) return null;
  const values = singularValues(data as Float32Array, rows, columns, { noise: base ? roundingNoise(base, rows, columns) : 0 });
  if (!values.length) return null;
  const sum = values.reduce((total, value) => total + value, 0);
  const entropy = values.reduce((total, value) => (value > 0 ? total - value / sum * Math.log(value / sum) : total), 0);
  return Math.exp(entropy);
}

/**
 * A change is the difference of two float32 weights, each rounded to 2^-24 of itself. Random numbers of that size have
 * singular values of up to (sqrt rows + sqrt columns) times their deviation.
 */
function roundingNoise({ data }: HostTensor, rows: number, columns: number): number {
  return 2 ** -24 * norm(data) / Math.sqrt(data.length) * (Math.sqrt(rows) + Math.sqrt(columns));
}

function angle(cosine: number): number {
  return Math.acos(Math.min(1, Math.max(-1, cosine))) * 180 / Math.PI;
}

function norm(values: ArrayLike<number>): number {
  return Math.sqrt(dot(values, values));
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** blocks.2 before blocks.10. */
function byBlock(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
