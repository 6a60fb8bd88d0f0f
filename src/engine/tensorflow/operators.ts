/** How each kernel is put down in TensorFlow. One entry a kernel; a kernel missing here cannot be written. */
import { headShape } from '../graph/head-shape';
import { sizeOf, type Node, type Value } from '../graph/nodes';
import type { FunctionBuilder } from './builder';
import type { TfAttribute, TfType } from './model';

/** Gets the names of the inputs and returns those of the outputs, in the kernel's order. */
export type Operator = (graph: FunctionBuilder, inputs: string[], node: Node) => string[];

/** The operation of the same operands, whose type is that of the first. */
const simple = (operator: string): Operator => (graph, inputs, node) => [graph.op(operator, inputs, typeOf(node))];
const reduce = (operator: string): Operator => (graph, [x], node) => [graph.op(operator, [x!, graph.int32s(node.attributes['axes'] as number[])], {
  ...typeOf(node), Tidx: { type: 'int32' }, keep_dims: { bool: Boolean(node.attributes['keepDims']) },
})];
const select: Operator = (graph, inputs, { outputs }) => [graph.op('SelectV2', inputs, { T: { type: outputs[0]!.dtype } })];
const same = Object.fromEntries([
  'Abs', 'Erf', 'Exp', 'Log', 'Maximum', 'Minimum', 'Neg', 'Pow', 'RealDiv', 'Reciprocal', 'Relu', 'Rsqrt', 'Sigmoid', 'Sqrt', 'Square', 'Sub',
  'Tanh', 'Greater', 'GreaterEqual', 'Less', 'LessEqual', 'Equal', 'Softmax', 'LogSoftmax',
].map(operator => [operator, simple(operator)]));

export const operators: Record<string, Operator> = {
  ...same,
  Add: simple('AddV2'), Multiply: simple('Mul'), Select: select, Choose: select,
  Mean: reduce('Mean'), Max: reduce('Max'), Sum: reduce('Sum'),
  // TensorFlow rewrites AddN to temporary variables, which XLA refuses.
  AddN: (graph, inputs) => [inputs.reduce((a, b) => graph.op('AddV2', [a, b]))],
  Step: (graph, [x], { attributes }) => {
    const alpha = graph.scalar((attributes['alpha'] as number | undefined) ?? 0);
    return [graph.op('SelectV2', [graph.op('Greater', [x!, graph.scalar(0)]), graph.scalar(1), alpha])];
  },
  Cast: (graph, [x], { inputs, outputs }) => [graph.cast(x!, inputs[0]!.dtype, outputs[0]!.dtype)],
  Concat: (graph, inputs, node) => [graph.op('ConcatV2', [...inputs, graph.int32(node.attributes['axis'] as number)], {
    ...typeOf(node), N: { int: inputs.length }, Tidx: { type: 'int32' },
  })],
  Reshape: reshape, ExpandDims: reshape,
  Tile: (graph, [x], node) =>
    [graph.op('Tile', [x!, graph.int32s(node.attributes['reps'] as number[])], { ...typeOf(node), Tmultiples: { type: 'int32' } })],
  Transpose: (graph, [x], { inputs, attributes }) => [graph.transpose(x!, attributes['perm'] as number[], inputs[0]!.dtype)],
  PadV2: (graph, [x], { attributes }) => {
    const [before, after] = [attributes['before'] as number[], attributes['after'] as number[]];
    const widths = graph.reshape(graph.int32s(before.flatMap((b, i) => [b, after[i]!])), [before.length, 2], 'int32');
    return [graph.op('PadV2', [x!, widths, graph.scalar(attributes['value'] as number)], { Tpaddings: { type: 'int32' } })];
  },
  Slice: (graph, [x], node) =>
    [graph.op('Slice', [x!, graph.int32s(node.attributes['begin'] as number[]), graph.int32s(node.attributes['size'] as number[])], {
      ...typeOf(node), Index: { type: 'int32' },
    })],
  SplitV: (graph, [x], node) => {
    const axis = node.attributes['axis'] as number;
    const sizes = graph.int32s(node.outputs.map(o => o.shape[axis]!));
    return graph.split('SplitV', [x!, sizes, graph.int32(axis)], node.outputs.length, {
      ...typeOf(node), num_split: { int: node.outputs.length }, Tlen: { type: 'int32' },
    });
  },
  BatchMatMul: matMul,
  LayerNormalize: (graph, [x], { attributes }) => {
    const centered = graph.op('Sub', [x!, meanOfRows(graph, x!)]);
    const variance = meanOfRows(graph, graph.op('Square', [centered]));
    const inverse = graph.op('Rsqrt', [graph.op('AddV2', [variance, graph.scalar(attributes['epsilon'] as number)])]);
    return [graph.op('Mul', [centered, inverse]), inverse];
  },
  LayerNormalizeGradient: (graph, [dy, normalized, inverse]) => {
    const projection = graph.op('Mul', [normalized!, meanOfRows(graph, graph.op('Mul', [dy!, normalized!]))]);
    const centered = graph.op('Sub', [dy!, meanOfRows(graph, dy!)]);
    return [graph.op('Mul', [graph.op('Sub', [centered, projection]), inverse!])];
  },
  Gelu: (graph, [x]) => [graph.op('Mul', [graph.op('Mul', [x!, graph.scalar(0.5)]), twiceNormalCdf(graph, x!)])],
  GeluGradient: geluGradient,
  Attention: attention,
  AttentionGradient: attentionGradient,
  ApplyMask: (graph, [x, mask], { attributes }) =>
    [graph.op('Mul', [x!, graph.op('Mul', [graph.cast(mask!, 'bool', 'float32'), graph.scalar(attributes['scale'] as number)])])],
  AddAtIndices: (graph, [x, indices, values], { inputs, outputs }) => {
    const positions = graph.reshape(graph.cast(indices!, 'float32', 'int32'), [inputs[1]!.shape[0]!, 1], 'int32');
    const flat = graph.reshape(x!, [sizeOf(inputs[0]!.shape)]);
    return [graph.reshape(graph.op('TensorScatterAdd', [flat, positions, values!], { Tindices: { type: 'int32' } }), outputs[0]!.shape)];
  },
  TakeAtIndices: (graph, [x, indices], { inputs }) =>
    [graph.bare('GatherV2', [graph.reshape(x!, [sizeOf(inputs[0]!.shape)]), graph.cast(indices!, 'float32', 'int32'), graph.int32(0)], {
      Tparams: { type: 'float32' }, Tindices: { type: 'int32' }, Taxis: { type: 'int32' }, batch_dims: { int: 0 },
    })],
};

function typeOf({ inputs }: Node): { T: TfAttribute & { type: TfType } } {
  return { T: { type: inputs[0]!.dtype } };
}

function reshape(graph: FunctionBuilder, [x]: string[], { inputs, outputs }: Node): string[] {
  return [graph.reshape(x!, outputs[0]!.shape, inputs[0]!.dtype)];
}

/** [rows, width] -> [rows, 1]. */
function meanOfRows(graph: FunctionBuilder, x: string): string {
  return graph.op('Mean', [x, graph.int32s([-1])], { Tidx: { type: 'int32' }, keep_dims: { bool: true } });
}

function matMul(graph: FunctionBuilder, [a, b]: string[], { inputs, attributes }: Node): string[] {
  const [transposeA, transposeB] = [Boolean(attributes['transposeA']), Boolean(attributes['transposeB'])];
  const product = graph.product(a!, b!, { transposeA, transposeB, isPlain: inputs.every(i => i.shape.length === 2) });
  const alpha = (attributes['alpha'] as number | undefined) ?? 1;
  return [alpha === 1 ? product : graph.op('Mul', [product, graph.scalar(alpha)])];
}

/** 2 Phi(x) = 1 + erf(x / sqrt 2). */
function twiceNormalCdf(graph: FunctionBuilder, x: string): string {
  return graph.op('AddV2', [graph.op('Erf', [graph.op('Mul', [x, graph.scalar(Math.SQRT1_2)])]), graph.scalar(1)]);
}

/** dy * (Phi(x) + x phi(x)), the sum taken twice and dy by half; `halved` says that dy comes so. */
function geluGradient(graph: FunctionBuilder, [dy, x]: string[], { attributes }: Node): string[] {
  const exponent = graph.op('Mul', [graph.op('Square', [x!]), graph.scalar(-0.5)]);
  const bell = graph.op('Mul', [graph.op('Exp', [exponent]), graph.scalar(2 / Math.sqrt(2 * Math.PI))]);
  const derivative = graph.op('AddV2', [twiceNormalCdf(graph, x!), graph.op('Mul', [x!, bell])]);
  const half = attributes['halved'] ? dy! : graph.op('Mul', [dy!, graph.scalar(0.5)]);
  return [graph.op('Mul', [half, derivative])];
}

/** [tokens * batch, width] -> [batch * heads, tokens, headWidth]; rows are token-major. */
function splitHeads(graph: FunctionBuilder, x: string, [tokens, groups, headWidth]: readonly [number, number, number]): string {
  return graph.transpose(graph.reshape(x, [tokens, groups, headWidth]), [1, 0, 2]);
}

function joinHeads(graph: FunctionBuilder, x: string, like: Value): string {
  return graph.reshape(graph.transpose(x, [1, 0, 2]), like.shape);
}

function attention(graph: FunctionBuilder, [q, k, v]: string[], node: Node): string[] {
  const { groups, headWidth, queries, tokens, scale } = headShape(node, node.inputs[0]!, node.inputs[1]!);
  const Q = splitHeads(graph, graph.op('Mul', [q!, graph.scalar(scale)]), [queries, groups, headWidth]);
  const [K, V] = [splitHeads(graph, k!, [tokens, groups, headWidth]), splitHeads(graph, v!, [tokens, groups, headWidth])];
  const probabilities = graph.op('Softmax', [graph.product(Q, K, { transposeB: true, isPlain: false })]);
  return [joinHeads(graph, graph.product(probabilities, V, { isPlain: false }), node.inputs[0]!), probabilities];
}

function attentionGradient(graph: FunctionBuilder, [dy, q, k, v, o, p]: string[], node: Node): string[] {
  const [q0, k0] = [node.inputs[1]!, node.inputs[2]!];
  const { groups, headWidth, queries, tokens, scale } = headShape(node, q0, k0);
  const split = (x: string, rows: number) => splitHeads(graph, x, [rows, groups, headWidth]);
  const scaled = (x: string) => graph.op('Mul', [x, graph.scalar(scale)]);
  const [D, Q, K, V] = [split(dy!, queries), split(scaled(q!), queries), split(scaled(k!), tokens), split(v!, tokens)];
  const share = graph.reshape(graph.op('Mul', [dy!, o!]), [queries, groups, headWidth]);
  const summed = graph.op('Sum', [share, graph.int32s([2])], { Tidx: { type: 'int32' }, keep_dims: { bool: true } });
  const delta = graph.transpose(summed, [1, 0, 2]);
  const ds = graph.op('Mul', [p!, graph.op('Sub', [graph.product(D, V, { transposeB: true, isPlain: false }), delta])]);
  return [
    joinHeads(graph, graph.product(ds, K, { isPlain: false }), q0),
    joinHeads(graph, graph.product(ds, Q, { transposeA: true, isPlain: false }), k0),
    joinHeads(graph, graph.product(p!, D, { transposeA: true, isPlain: false }), k0),
  ];
}
