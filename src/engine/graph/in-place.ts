import type { Node, Trace, Value } from './nodes';
import { makersOf, sameShape } from './nodes';

/**
 * State whose new value may be written over the old one while the program runs: everything that reads the old value
 * runs before the node that makes the new one. Other state needs a second buffer.
 */
export function inPlaceState(trace: Trace): Set<string> {
  const makers = makersOf(trace.nodes);
  const readers = new Map<Value, Node[]>();
  for (const node of trace.nodes) for (const input of node.inputs) readers.set(input, [...(readers.get(input) ?? []), node]);
  return new Set([...trace.updates].filter(([name, updated]) => {
    const maker = makers.get(updated);
    const old = trace.inputs.get(name)!;
    if (!maker || [...trace.fetches.values()].includes(old)) return false;
    return (readers.get(old) ?? []).every(reader => (reader === maker ? mayOverwrite(maker, old) : runsBefore(reader, maker, makers)));
  }).map(([name]) => name));
}

/** Whether the node may write over this input while it reads it: each element is read before it is written, and not again. */
function mayOverwrite({ kernel, inputs, outputs }: Node, old: Value): boolean {
  if (!sameShape(old.shape, outputs[0]!.shape) || outputs.length > 1) return false;
  return kernel === 'MatMulAdd' ? inputs.indexOf(old) === 2 : elementwise.has(kernel);
}

const elementwise = new Set(['Add', 'Sub', 'Multiply', 'RealDiv']);

/** Whether `later` reads, directly or not, what `earlier` makes. A state's readers are near its update: the search is short. */
function runsBefore(earlier: Node, later: Node, makers: Map<Value, Node>): boolean {
  const seen = new Set<Node>();
  const stack = [later];
  while (stack.length) {
    const node = stack.pop()!;
    for (const input of node.inputs) {
      const maker = makers.get(input);
      if (!maker || seen.has(maker)) continue;
      if (maker === earlier) return true;
      seen.add(maker);
      stack.push(maker);
    }
  }
  return false;
}
