import type { Node, Trace, Value } from '../graph/nodes';
import { freshValue, leavesOf } from '../graph/nodes';

/**
 * Attention keeps for its gradient one number a query, the logarithm (to the base of 2) of the sum of its exponentials, in place of the
 * probabilities, which the gradient computes again while it has the scores in the cache.
 * Attention -> output, logarithms [batch * heads, queries], and the probabilities where another node reads them.
 */
export function keepLogSums(trace: Trace): Trace {
  const sums = new Map<Value, Value>();
  for (const { kernel, outputs: [, probabilities] } of trace.nodes) {
    if (kernel === 'Attention') sums.set(probabilities!, freshValue(probabilities!.shape.slice(0, 2), 'float32'));
  }
  const leaves = new Set(leavesOf(trace));
  const readElsewhere = new Set(trace.nodes.flatMap(({ kernel, inputs }) => inputs.filter((_, i) => kernel !== 'AttentionGradient' || i !== 5)));
  return { ...trace, nodes: trace.nodes.map(node => rewrite(node, sums, p => leaves.has(p) || readElsewhere.has(p))) };
}

function rewrite(node: Node, sums: Map<Value, Value>, isRead: (probabilities: Value) => boolean): Node {
  if (node.kernel === 'Attention') {
    const [output, probabilities] = node.outputs as [Value, Value];
    return { ...node, outputs: [output, sums.get(probabilities)!, ...isRead(probabilities) ? [probabilities] : []] };
  }
  const kept = node.kernel === 'AttentionGradient' ? sums.get(node.inputs[5]!) : undefined;
  return kept ? { ...node, inputs: [...node.inputs.slice(0, 5), kept] } : node;
}
