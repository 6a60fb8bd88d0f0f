import type { Node, Trace } from '../graph/nodes';

/**
 * Large products of two matrices are computed by Strassen's algorithm, with an eighth fewer multiplications. Rounding errors stay as
 * large as they are, measured by the largest number, but small rows share those of larger ones that they are paired with.
 */
export function multiplyInQuarters(trace: Trace): Trace {
  return { ...trace, nodes: trace.nodes.map(node => (isLarge(node) ? { ...node, attributes: { ...node.attributes, inQuarters: true } } : node)) };
}

/** Whether there is so much to multiply that fewer multiplications outweigh the sums: by measurement. */
function isLarge({ kernel, inputs: [a], outputs: [output], attributes }: Node): boolean {
  if (!['Product', 'MatMulAdd', 'BatchMatMul'].includes(kernel) || output!.shape.length !== 2) return false;
  const [rows, columns] = output!.shape as [number, number];
  return rows >= 192 && columns >= 384 && a!.shape.at(attributes['transposeA'] ? -2 : -1)! >= 512;
}
