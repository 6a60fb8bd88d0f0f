import type { Node, Trace, Value } from '../graph/nodes';
import { countReads } from '../graph/nodes';

/** What a node that takes the work of others over may ask of the list before it. */
export interface Before {
  /** The node of this kernel that makes a value which nobody else reads. */
  alone(value: Value, kernel: string): Node | null;
  /** Says that a node is done by another one. */
  take(node: Node): void;
}

/** Goes through a list and puts in place of a node what `fuse` makes of it; nodes that were taken over are left out. */
export function absorb(trace: Trace, fuse: (node: Node, before: Before) => Node | null): Trace {
  const reads = countReads(trace);
  const makers = new Map<Value, Node>();
  const taken = new Set<Node>();
  const before: Before = {
    alone(value, kernel) {
      const maker = makers.get(value);
      return maker?.kernel === kernel && reads.get(value) === 1 ? maker : null;
    },
    take: node => taken.add(node),
  };
  const nodes = trace.nodes.map(node => {
    const fused = fuse(node, before) ?? node;
    for (const output of fused.outputs) makers.set(output, fused);
    return fused;
  });
  return { ...trace, nodes: nodes.filter(node => !taken.has(node)) };
}
