import type { Node, Trace, Value } from './nodes';
import { freshValue } from './nodes';

/**
 * The gradient of a large weight is a product whose left side is read by columns. ONNX Runtime turns that side anew for every few
 * columns of the result, so it is turned once before; and where it is much the wider one, the other is, and the result. The same
 * numbers are added up in the same order.
 */
export function transposeFirst(trace: Trace): Trace {
  return { ...trace, nodes: trace.nodes.flatMap(node => (isLargeGradient(node) ? turned(node) : [node])) };
}

/** Rows and columns of a result, and rows of both sides, from which on turning gains more than it takes: by measurement. */
const large = 256;

/** So many times as many rows as columns let the result be computed transposed. */
const tall = 3;

function isLargeGradient({ kernel, inputs, outputs, attributes }: Node): boolean {
  if (kernel !== 'BatchMatMul' || !attributes['transposeA'] || attributes['transposeB'] || outputs[0]!.shape.length !== 2) return false;
  return [...outputs[0]!.shape, inputs[0]!.shape[0]!].every(side => side >= large);
}

function turned({ kernel, inputs, outputs, attributes }: Node): Node[] {
  const [[a, b], [product]] = [inputs, outputs] as unknown as [[Value, Value], [Value]];
  const multiply = (left: Value, right: Value, output: Value): Node => ({ kernel, inputs: [left, right], outputs: [output], attributes: { ...attributes, transposeA: false } });
  const [rows, columns] = product.shape as [number, number];
  if (rows <= tall * columns) {
    const across = freshValue(a.shape.toReversed(), a.dtype);
    return [transpose(a, across), multiply(across, b, product)];
  }
  const [across, result] = [freshValue(b.shape.toReversed(), b.dtype), freshValue([columns, rows], product.dtype)];
  return [transpose(b, across), multiply(across, a, result), transpose(result, product)];
}

function transpose(input: Value, output: Value): Node {
  return { kernel: 'Transpose', inputs: [input], outputs: [output], attributes: { perm: [1, 0] } };
}
