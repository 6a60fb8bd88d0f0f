import type { Node, Trace } from './nodes';
import { countReads, makersOf } from './nodes';

/**
 * The GELU gradient begins by halving what it is given. Where that is a product that nobody else reads, the product is
 * halved while it is made, which saves a pass over it.
 */
export function foldScales(trace: Trace): Trace {
  const [makers, reads] = [makersOf(trace.nodes), countReads(trace)];
  const halved = new Set<Node>();
  const isFolded = ({ kernel, inputs }: Node) => {
    const maker = makers.get(inputs[0]!);
    if (kernel !== 'GeluGradient' || maker?.kernel !== 'BatchMatMul' || maker.outputs[0]!.shape.length !== 2 || reads.get(inputs[0]!) !== 1) return false;
    halved.add(maker);
    return true;
  };
  const folded = new Set(trace.nodes.filter(isFolded));
  return {
    ...trace,
    nodes: trace.nodes.map(node => {
      if (folded.has(node)) return { ...node, attributes: { ...node.attributes, halved: true } };
      return halved.has(node) ? { ...node, attributes: { ...node.attributes, alpha: 0.5 } } : node;
    }),
  };
}
