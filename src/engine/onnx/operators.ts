/** How each kernel is put down in ONNX. One entry a kernel; a kernel missing here cannot be written. */
import { headShape } from '../graph/head-shape';
import type { Node, Value } from '../graph/nodes';
import { sameShape, sizeOf } from '../graph/nodes';
import type { GraphBuilder } from './builder';

/** Types of floating point numbers. */
export type FloatType = 'float32' | 'float16' | 'bfloat16';

/** Gets the names of the inputs and returns those of the outputs, in the kernel's order. */
export type Operator = (graph: GraphBuilder, inputs: string[], node: Node) => string[];

const simple = (operator: string): Operator => (graph, inputs) => [graph.op(operator, inputs)];
const reduce = (operator: string): Operator => (graph, [x], { attributes }) =>
  [graph.op(operator, [x!, graph.int64s(attributes['axes'] as number[])], { keepdims: attributes['keepDims'] ? 1 : 0 })];
const softmax = (operator: string): Operator => (graph, [x]) => [graph.op(operator, [x!], { axis: -1 })];

const table: Record<string, Operator> = {
  Abs: simple('Abs'), Add: simple('Add'), Erf: simple('Erf'), Exp: simple('Exp'), Log: simple('Log'), Maximum: simple('Max'),
  Minimum: simple('Min'), Multiply: simple('Mul'), Neg: simple('Neg'), Pow: simple('Pow'), RealDiv: simple('Div'),
  Reciprocal: simple('Reciprocal'), Relu: simple('Relu'), Sigmoid: simple('Sigmoid'), Sqrt: simple('Sqrt'), Sub: simple('Sub'),
  Tanh: simple('Tanh'), Greater: simple('Greater'), GreaterEqual: simple('GreaterOrEqual'), Less: simple('Less'),
  LessEqual: simple('LessOrEqual'), Equal: simple('Equal'),
  Mean: reduce('ReduceMean'), Max: reduce('ReduceMax'), Sum: sum,
  Softmax: softmax('Softmax'), LogSoftmax: softmax('LogSoftmax'),
  AddN: simple('Sum'),
  Square: (graph, [x]) => [graph.op('Mul', [x!, x!])],
  Rsqrt: (graph, [x]) => [graph.op('Reciprocal', [graph.op('Sqrt', [x!])])],
  Step: (graph, [x]) => [graph.op('Cast', [graph.op('Greater', [x!, graph.scalar(0)])], { to: 1 })],
  Cast: (graph, [x], { outputs }) => [graph.cast(x!, floatType(outputs[0]!))],
  Select: simple('Where'), Choose: simple('Where'),
  Concat: (graph, inputs, { attributes }) => [graph.op('Concat', inputs, { axis: attributes['axis'] as number })],
  Reshape: reshape, ExpandDims: reshape,
  Tile: (graph, [x], { attributes }) => [graph.op('Tile', [x!, graph.int64s(attributes['reps'] as number[])])],
  Transpose: (graph, [x], { attributes }) => [graph.op('Transpose', [x!], { perm: attributes['perm'] as number[] })],
  PadV2: (graph, [x], { attributes }) => [graph.op('Pad', [
    x!, graph.int64s([...(attributes['before'] as number[]), ...(attributes['after'] as number[])]), graph.scalar(attributes['value'] as number),
  ])],
  Slice: slice,
  SplitV: (graph, [x], { attributes, outputs }) => {
    const axis = attributes['axis'] as number;
    return graph.split('Split', [x!, graph.int64s(outputs.map(o => o.shape[axis]!))], outputs.length, { axis });
  },
  MatMulAdd: (graph, inputs, { attributes }) =>
    [graph.op('Gemm', inputs, { transA: attributes['transposeA'] ? 1 : 0, transB: attributes['transposeB'] ? 1 : 0 })],
  LayerNormalize: (graph, [x], { inputs, attributes }) => {
    const ones = graph.filled(1, [inputs[0]!.shape.at(-1)!]);
    const [normalized, , inverse] = graph.split('LayerNormalization', [x!, ones], 3, { axis: -1, epsilon: { float: attributes['epsilon'] as number } });
    return [normalized!, inverse!];
  },
  LayerNormalizeGradient: (graph, [dy, normalized, inverse]) => {
    const mean = (v: string) => graph.op('ReduceMean', [v, graph.int64s([-1])], { keepdims: 1 });
    const projection = graph.op('Mul', [normalized!, mean(graph.op('Mul', [dy!, normalized!]))]);
    return [graph.op('Mul', [graph.op('Sub', [graph.op('Sub', [dy!, mean(dy!)]), projection]), inverse!])];
  },
  Gelu: (graph, [x]) => [graph.contrib('Gelu', [x!])],
  GeluGradient: geluGradient,
  ApplyMask: (graph, [x, mask], { attributes }) => {
    // The mask stays one byte an element; it becomes 0 or `scale` in one pass.
    const factor = graph.op('DequantizeLinear', [mask!, graph.scalar(attributes['scale'] as number)]);
    return [graph.op('Mul', [x!, factor])];
  },
  AddAtIndices: (graph, [x, indices, values], { inputs, outputs }) => {
    const [flat, positions] = [graph.reshape(x!, [sizeOf(inputs[0]!.shape)]), graph.cast(indices!, 'int32')];
    const sums = graph.op('Add', [graph.op('Gather', [flat, positions]), values!]);
    return [graph.reshape(graph.op('ScatterElements', [flat, positions, sums]), outputs[0]!.shape)];
  },
  TakeAtIndices: (graph, [x, indices], { inputs }) =>
    [graph.op('Gather', [graph.reshape(x!, [sizeOf(inputs[0]!.shape)]), graph.cast(indices!, 'int32')])],
};

/**
 * A product of rank-3 operands that lie as they were made. `groups first` is [groups, rows, columns], `rows first`
 * [rows, groups, columns]; a transposed operand has rows and columns exchanged. The product is groups first.
 */
export type GroupedProduct = (graph: GraphBuilder, operands: readonly [GroupedOperand, GroupedOperand], scale: GroupedScale) => string;

export interface GroupedOperand {
  name: string;
  rowsFirst?: boolean;
  transposed?: boolean;
}

export interface GroupedScale {
  /** The product is multiplied by it; 1 when absent. */
  alpha?: number;
  type: FloatType;
}

/** The operand as [groups, rows, columns], for products that take no other. */
export function inOrder(graph: GraphBuilder, { name, rowsFirst, transposed }: GroupedOperand): string {
  if (!rowsFirst && !transposed) return name;
  const perm = rowsFirst ? transposed ? [1, 2, 0] : [1, 0, 2] : [0, 2, 1];
  return graph.op('Transpose', [name], { perm });
}

/** The table for a runtime that multiplies groups in its own way. */
export function operatorsWith(product: GroupedProduct): Record<string, Operator> {
  return {
    ...table,
    BatchMatMul: (graph, inputs, node) => matMul(graph, inputs, node, product),
    Attention: (graph, inputs, node) => attention(graph, inputs, node, product),
    AttentionGradient: (graph, inputs, node) => attentionGradient(graph, inputs, node, product),
  };
}

/** One operator of ONNX Runtime's own takes every operand as it lies. */
const fusedProduct: GroupedProduct = (graph, [a, b], { alpha = 1 }) => graph.contrib('FusedMatMul', [a.name, b.name], {
  ...a.transposed && { transA: 1 }, ...b.transposed && { transB: 1 },
  ...a.rowsFirst && { transBatchA: 1 }, ...b.rowsFirst && { transBatchB: 1 },
  ...alpha !== 1 && { alpha: { float: alpha } },
});

/** For ONNX Runtime on processors and CUDA. */
export const operators = operatorsWith(fusedProduct);

/** The type of floating point number that a value has in a model. */
export function floatType({ dtype }: Value): FloatType {
  return dtype === 'float16' || dtype === 'bfloat16' ? dtype : 'float32';
}

function reshape(graph: GraphBuilder, [x]: string[], { outputs }: Node): string[] {
  return [graph.reshape(x!, outputs[0]!.shape)];
}

function slice(graph: GraphBuilder, [x]: string[], { inputs, attributes }: Node): string[] {
  const [begin, size] = [attributes['begin'] as number[], attributes['size'] as number[]];
  const axes = begin.map((_, i) => i).filter(i => begin[i] !== 0 || size[i] !== inputs[0]!.shape[i]);
  if (!axes.length) return [x!];
  const at = (values: number[]) => graph.int64s(axes.map(i => values[i]!));
  return [graph.op('Slice', [x!, at(begin), at(begin.map((b, i) => b + size[i]!)), graph.int64s(axes)])];
}

/** The sum over rows is a product with ones, which is several times as fast as ReduceSum over the first axis. */
function sum(graph: GraphBuilder, [x]: string[], node: Node): string[] {
  const { shape } = node.inputs[0]!;
  const axes = node.attributes['axes'] as number[];
  if (shape.length !== 2 || axes.length !== 1 || axes[0] !== 0) return reduce('ReduceSum')(graph, [x!], node);
  const row = graph.op('Gemm', [graph.filled(1, [1, shape[0]!]), x!]);
  return [node.attributes['keepDims'] ? row : graph.reshape(row, [shape[1]!])];
}

function matMul(graph: GraphBuilder, [a, b]: string[], { inputs, outputs, attributes }: Node, product: GroupedProduct): string[] {
  const [transA, transB] = [attributes['transposeA'] ? 1 : 0, attributes['transposeB'] ? 1 : 0];
  const alpha = { float: (attributes['alpha'] as number | undefined) ?? 1 };
  if (inputs.every(i => i.shape.length === 2)) return [graph.op('Gemm', [a!, b!], { transA, transB, alpha })];
  if (!transA && !transB) return [graph.op('MatMul', [a!, b!])];
  if (!sameShape(inputs[0]!.shape.slice(0, -2), outputs[0]!.shape.slice(0, -2))) throw new Error('a transposed product with a broadcast batch');
  const batch = [...inputs[0]!.shape.slice(0, -2)];
  const flat = (name: string, { shape }: Value) => (batch.length === 1 ? name : graph.reshape(name, [sizeOf(batch), ...shape.slice(-2)]));
  const made = product(graph, [
    { name: flat(a!, inputs[0]!), transposed: Boolean(transA) }, { name: flat(b!, inputs[1]!), transposed: Boolean(transB) },
  ], { type: floatType(outputs[0]!) });
  return [batch.length === 1 ? made : graph.reshape(made, outputs[0]!.shape)];
}

/** dy * (Phi(x) + x phi(x)), with t = x / sqrt 2: Phi = (1 + erf t) / 2, x phi(x) = t exp(-t^2) / sqrt pi. */
function geluGradient(graph: GraphBuilder, [dy, x]: string[], { attributes }: Node): string[] {
  const t = graph.op('Mul', [x!, graph.scalar(Math.SQRT1_2)]);
  const cdf = graph.op('Add', [graph.op('Erf', [t]), graph.scalar(1)]); // twice Phi
  const bell = graph.op('Exp', [graph.op('Sub', [graph.scalar(Math.log(2 / Math.sqrt(Math.PI))), graph.op('Mul', [t, t])])]);
  const derivative = graph.op('Add', [cdf, graph.op('Mul', [t, bell])]); // twice the derivative
  const half = attributes['halved'] ? dy! : graph.op('Mul', [dy!, graph.scalar(0.5)]);
  return [graph.op('Mul', [half, derivative])];
}

/**
 * Rows are token-major, so that [tokens, batch * heads, headWidth] is a view and the products take it as it lies. With
 * operands of lower precision, products are made in it, and the softmax in f32.
 */
function attention(graph: GraphBuilder, [q, k, v]: string[], node: Node, product: GroupedProduct): string[] {
  const { groups, headWidth, queries, tokens, scale } = headShape(node, node.inputs[0]!, node.inputs[1]!);
  const view = (name: string, rows: number): GroupedOperand => ({ name: graph.reshape(name, [rows, groups, headWidth]), rowsFirst: true });
  const type = floatType(node.outputs[0]!);
  const scores = product(graph, [view(q!, queries), { ...view(k!, tokens), transposed: true }], { alpha: scale, type });
  const probabilities = narrowed(graph, graph.op('Softmax', [widened(graph, scores, type)], { axis: -1 }), type);
  const mixed = product(graph, [{ name: probabilities }, view(v!, tokens)], { type });
  return [joinHeads(graph, mixed, node.inputs[0]!), probabilities];
}

function attentionGradient(graph: GraphBuilder, [dy, q, k, v, o, p]: string[], node: Node, product: GroupedProduct): string[] {
  const [q0, k0] = [node.inputs[1]!, node.inputs[2]!];
  const { groups, headWidth, queries, tokens, scale: alpha } = headShape(node, q0, k0);
  const type = floatType(node.outputs[0]!);
  const shaped = (name: string, rows: number) => graph.reshape(name, [rows, groups, headWidth]);
  const view = (name: string, rows: number): GroupedOperand => ({ name: shaped(name, rows), rowsFirst: true });
  const wide = (name: string) => widened(graph, name, type);
  const share = graph.op('ReduceSum', [shaped(graph.op('Mul', [wide(dy!), wide(o!)]), queries), graph.int64s([2])], { keepdims: 1 });
  const delta = graph.op('Transpose', [share], { perm: [1, 0, 2] });
  const D = view(dy!, queries);
  const dp = product(graph, [D, { ...view(v!, tokens), transposed: true }], { type });
  const ds = narrowed(graph, graph.op('Mul', [wide(p!), graph.op('Sub', [wide(dp), delta])]), type);
  return [
    joinHeads(graph, product(graph, [{ name: ds }, view(k!, tokens)], { alpha, type }), q0),
    joinHeads(graph, product(graph, [{ name: ds, transposed: true }, view(q!, queries)], { alpha, type }), k0),
    joinHeads(graph, product(graph, [{ name: p!, transposed: true }, D], { type }), k0),
  ];
}

function widened(graph: GraphBuilder, x: string, type: FloatType): string {
  return type === 'float32' ? x : graph.cast(x, 'float32');
}

function narrowed(graph: GraphBuilder, x: string, type: FloatType): string {
  return type === 'float32' ? x : graph.cast(x, type);
}

function joinHeads(graph: GraphBuilder, x: string, like: Value): string {
  return graph.reshape(graph.op('Transpose', [x], { perm: [1, 0, 2] }), like.shape);
}
