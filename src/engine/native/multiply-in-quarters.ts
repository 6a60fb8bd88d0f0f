import type { Trace } from '../graph/nodes';

/**
 * Lets products of two matrices be computed by Strassen's algorithm, with an eighth less multiplications. Rounding errors stay as
 * large as they are, measured by the largest number, but small rows share those of larger ones that they are paired with.
 * Whether a product is large enough to gain by it, kernels/quarters.h says.
 */
export function multiplyInQuarters(trace: Trace): Trace {
  const kernels = ['Product', 'MatMulAdd', 'BatchMatMul'];
  return { ...trace, nodes: trace.nodes.map(node => (kernels.includes(node.kernel) ? { ...node, attributes: { ...node.attributes, inQuarters: true } } : node)) };
}
