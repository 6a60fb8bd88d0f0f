import type { Node, Trace } from '../graph/nodes';

/**
 * Lets products of two matrices be computed by Strassen's algorithm, with an eighth fewer multiplications. Rounding errors stay as
 * large as they are, measured by the largest number, but small rows share those of larger ones that they are paired with.
 * Whether a product is large enough to gain by it, kernels/quarters.h says.
 */
export function multiplyInQuarters(trace: Trace): Trace {
  const kernels = ['Product', 'MatMulAdd', 'BatchMatMul'];
  const isAllowed = ({ kernel, outputs: [output] }: Node) => kernels.includes(kernel) && output!.shape.length === 2;
  return { ...trace, nodes: trace.nodes.map(node => (isAllowed(node) ? { ...node, attributes: { ...node.attributes, inQuarters: true } } : node)) };
}
