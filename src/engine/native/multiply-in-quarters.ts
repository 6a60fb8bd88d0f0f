import type { Trace } from '../graph/nodes';

/**
 * Lets products of two matrices be computed by Strassen's algorithm: with an eighth less multiplications, at a few times the
 * rounding error. Whether one is large enough to gain by it, kernels/quarters.h says.
 */
export function multiplyInQuarters(trace: Trace): Trace {
  const kernels = ['Product', 'MatMulAdd', 'BatchMatMul'];
  return { ...trace, nodes: trace.nodes.map(node => (kernels.includes(node.kernel) ? { ...node, attributes: { ...node.attributes, inQuarters: true } } : node)) };
}
