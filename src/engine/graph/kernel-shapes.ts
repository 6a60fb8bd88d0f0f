/** Shapes and types of what each kernel makes: all that tracing needs to know. A kernel missing here cannot be traced. */
import { backend_util, slice_util, util } from '@tensorflow/tfjs-core';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { FusedKernelName } from '../fused';
import type { Attributes } from './nodes';

export interface OutputShape {
  shape: number[];
  dtype: TensorInfo['dtype'];
}

/** Inputs by the kernel's own names, and its attributes as tfjs passes them. */
export type ShapeRule = (inputs: Record<string, TensorInfo>, attributes: Record<string, unknown>) => OutputShape[];

/** Attributes in plain form, when tfjs's own have defaults or implicit values. */
export type AttributeRule = (inputs: Record<string, TensorInfo>, attributes: Record<string, unknown>) => Attributes;

const like: ShapeRule = inputs => [shaped(first(inputs), first(inputs).dtype)];
const broadcast: ShapeRule = ({ a, b }) => [{ shape: backend_util.assertAndGetBroadcastShape(a!.shape, b!.shape), dtype: a!.dtype }];
const comparison: ShapeRule = inputs => broadcast(inputs, {}).map(({ shape }) => ({ shape, dtype: 'bool' }));
const reduction: ShapeRule = ({ x }, attributes) => {
  const axes = reducedAxes(x!, attributes);
  const keep = attributes['keepDims'] as boolean;
  return [{ shape: keep ? x!.shape.map((d, i) => (axes.includes(i) ? 1 : d)) : x!.shape.filter((_, i) => !axes.includes(i)), dtype: x!.dtype }];
};

const table: Record<string, ShapeRule> = {
  ...Object.fromEntries(['Add', 'Sub', 'Multiply', 'RealDiv', 'Maximum', 'Minimum', 'Pow'].map(k => [k, broadcast])),
  ...Object.fromEntries(['Greater', 'GreaterEqual', 'Less', 'LessEqual', 'Equal'].map(k => [k, comparison])),
  ...Object.fromEntries([
    'Abs', 'Erf', 'Exp', 'Log', 'Neg', 'Relu', 'Reciprocal', 'Rsqrt', 'Sigmoid', 'Sqrt', 'Square', 'Step', 'Tanh', 'Softmax', 'LogSoftmax',
  ].map(k => [k, like])),
  ...Object.fromEntries(['Sum', 'Mean', 'Max'].map(k => [k, reduction])),
  AddN: like,
  BatchMatMul: ({ a, b }, { transposeA, transposeB }) => {
    const [rows, columns] = [a!.shape.at(transposeA ? -1 : -2)!, b!.shape.at(transposeB ? -2 : -1)!];
    const batch = backend_util.assertAndGetBroadcastShape(a!.shape.slice(0, -2), b!.shape.slice(0, -2));
    return [{ shape: [...batch, rows, columns], dtype: 'float32' }];
  },
  Cast: ({ x }, { dtype }) => [shaped(x!, dtype as TensorInfo['dtype'])],
  Concat: (inputs, { axis }) => {
    const parts = Object.values(inputs);
    const shape = [...parts[0]!.shape];
    const at = parseAxis(axis, shape);
    shape[at] = sum(parts.map(t => t.shape[at]!));
    return [{ shape, dtype: parts[0]!.dtype }];
  },
  ExpandDims: ({ input }, { dim }) => {
    const shape = [...input!.shape];
    shape.splice((dim as number) < 0 ? shape.length + 1 + (dim as number) : dim as number, 0, 1);
    return [{ shape, dtype: input!.dtype }];
  },
  PadV2: ({ x }, { paddings }) => [{ shape: x!.shape.map((d, i) => d + sum((paddings as number[][])[i]!)), dtype: x!.dtype }],
  Reshape: ({ x }, { shape }) => [{ shape: util.inferFromImplicitShape(shape as number[], util.sizeFromShape(x!.shape)), dtype: x!.dtype }],
  Select: ({ t }) => [shaped(t!, t!.dtype)],
  Slice: ({ x }, { begin, size }) => [{ shape: slice_util.parseSliceParams(asTensor(x!), begin as number[], size as number[])[1]!, dtype: x!.dtype }],
  SplitV: ({ x }, { numOrSizeSplits, axis }) => {
    const at = parseAxis(axis, x!.shape);
    const sizes = backend_util.prepareSplitSize(asTensor(x!), numOrSizeSplits as number | number[], at);
    return sizes.map(size => ({ shape: x!.shape.map((d, i) => (i === at ? size : d)), dtype: x!.dtype }));
  },
  Tile: ({ x }, { reps }) => [{ shape: x!.shape.map((d, i) => d * (reps as number[])[i]!), dtype: x!.dtype }],
  Transpose: ({ x }, { perm }) => [{ shape: (perm as number[]).map(p => x!.shape[p]!), dtype: x!.dtype }],
};

const fused: Record<FusedKernelName, ShapeRule> = {
  LayerNormalize: ({ x }) => [shaped(x!, 'float32'), { shape: [x!.shape[0]!, 1], dtype: 'float32' }],
  LayerNormalizeGradient: ({ dy }) => [shaped(dy!, 'float32')],
  Gelu: like,
  GeluGradient: ({ dy }) => [shaped(dy!, 'float32')],
  Attention: ({ q, k }, { batch, heads }) => [
    shaped(q!, 'float32'),
    { shape: [(batch as number) * (heads as number), q!.shape[0]! / (batch as number), k!.shape[0]! / (batch as number)], dtype: 'float32' },
  ],
  AttentionGradient: ({ q, k, v }) => [shaped(q!, 'float32'), shaped(k!, 'float32'), shaped(v!, 'float32')],
  ApplyMask: ({ x }) => [shaped(x!, 'float32')],
  AddAtIndices: ({ x }) => [shaped(x!, 'float32')],
  TakeAtIndices: ({ indices }) => [shaped(indices!, 'float32')],
  Choose: ({ a }) => [shaped(a!, 'float32')],
};

export const kernelShapes: Record<string, ShapeRule> = { ...table, ...fused };

/** Kernels whose attributes are made explicit when they are recorded; the others' are recorded as they are. */
export const kernelAttributes: Record<string, AttributeRule> = {
  ...Object.fromEntries(['Sum', 'Mean', 'Max'].map(k => [k, (({ x }, a) => ({ axes: reducedAxes(x!, a), keepDims: Boolean(a['keepDims']) })) as AttributeRule])),
  Cast: () => ({}),
  PadV2: (_, { paddings, constantValue }) => ({
    before: (paddings as number[][]).map(p => p[0]!), after: (paddings as number[][]).map(p => p[1]!), value: constantValue as number,
  }),
  Reshape: () => ({}),
  ExpandDims: () => ({}),
  Slice: ({ x }, { begin, size }) => {
    const [start, extent] = slice_util.parseSliceParams(asTensor(x!), begin as number[], size as number[]);
    return { begin: start!, size: extent! };
  },
  SplitV: ({ x }, { axis }) => ({ axis: parseAxis(axis, x!.shape) }),
  Concat: (inputs, { axis }) => ({ axis: parseAxis(axis, first(inputs).shape) }),
};

function parseAxis(axis: unknown, shape: number[]): number {
  return util.parseAxisParam(axis as number, shape)[0]!;
}

function reducedAxes(x: TensorInfo, attributes: Record<string, unknown>): number[] {
  return util.parseAxisParam((attributes['axis'] ?? attributes['reductionIndices']) as number[], x.shape);
}

function first(inputs: Record<string, TensorInfo>): TensorInfo {
  return Object.values(inputs)[0]!;
}

function shaped({ shape }: TensorInfo, dtype: TensorInfo['dtype']): OutputShape {
  return { shape: [...shape], dtype };
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

/** Some helpers of tfjs ask for a tensor where they read only its shape. */
function asTensor(info: TensorInfo): Parameters<typeof slice_util.parseSliceParams>[0] {
  return info as Parameters<typeof slice_util.parseSliceParams>[0];
}
