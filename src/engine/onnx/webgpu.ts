/**
 * The operators for ONNX Runtime's WebGPU provider: only such as it has kernels for, so that no node falls back to the
 * processor. It has no product that takes transposed operands in groups, no elementwise maximum, no sum of many.
 */
import { inOrder, operatorsWith, type GroupedProduct, type Operator } from './operators';
import type { Dialect } from './write';

/** Operands are brought into the plain order first; a factor goes to the second, which is the smaller one in attention. */
const plainProduct: GroupedProduct = (graph, [a, b], { alpha = 1, type }) => {
  const [left, right] = [inOrder(graph, a), inOrder(graph, b)];
  return graph.op('MatMul', [left, alpha === 1 ? right : graph.op('Mul', [right, type === 'float32' ? graph.scalar(alpha) : graph.cast(graph.scalar(alpha), type)])]);
};

const choose = (comparison: string): Operator => (graph, [a, b]) => [graph.op('Where', [graph.op(comparison, [a!, b!]), a!, b!])];

const shared = operatorsWith(plainProduct);

export const webgpuDialect: Dialect = {
  masks: 'bool',
  operators: {
    ...shared,
    // A part of a mask: only numbers can be cut. What follows takes numbers too.
    Slice: (graph, [x], node) => shared['Slice']!(graph, [node.inputs[0]!.dtype === 'bool' ? graph.cast(x!, 'float32') : x!], node),
    Maximum: choose('Greater'), Minimum: choose('Less'),
    AddN: (graph, inputs) => [inputs.reduce((sum, x) => graph.op('Add', [sum, x]))],
    ApplyMask: (graph, [x, mask], { attributes }) => {
      const factor = graph.op('Mul', [graph.cast(mask!, 'float32'), graph.scalar(attributes['scale'] as number)]);
      return [graph.op('Mul', [x!, factor])];
    },
  },
};
