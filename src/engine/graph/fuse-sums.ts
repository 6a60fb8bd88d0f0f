import type { Node, Trace, Value } from './nodes';
import { countReads, sameShape } from './nodes';

/**
 * product + c becomes one MatMulAdd: the product is added to c where it is made, which saves a pass over both. `c` is
 * a value of the product's shape; a bias is left to an addition of its own, which is faster where weights are not prepacked.
 */
export function fuseSums(trace: Trace): Trace {
  const reads = countReads(trace);
  const makers = new Map<Value, Node>();
  const merged = new Set<Node>();
  const nodes = trace.nodes.map(node => {
    const fused = node.kernel === 'Add' ? fuse(node, makers, reads, merged) : null;
    for (const output of node.outputs) makers.set(output, fused ?? node);
    return fused ?? node;
  });
  return { ...trace, nodes: nodes.filter(node => !merged.has(node)) };
}

function fuse({ inputs, outputs }: Node, makers: Map<Value, Node>, reads: Map<Value, number>, merged: Set<Node>): Node | null {
  for (const [product, addend] of [inputs, [...inputs].reverse()] as [Value, Value][]) {
    const maker = makers.get(product);
    const fits = sameShape(product.shape, outputs[0]!.shape) && sameShape(addend.shape, product.shape);
    if (maker?.kernel !== 'BatchMatMul' || product.shape.length !== 2 || reads.get(product) !== 1 || !fits) continue;
    merged.add(maker);
    return { kernel: 'MatMulAdd', inputs: [...maker.inputs, addend], outputs, attributes: maker.attributes };
  }
  return null;
}
