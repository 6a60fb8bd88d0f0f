/** How much memory a list of nodes holds at its worst moment, by who still reads what. */
import type { Trace, Value } from './nodes';
import { leavesOf, sizeOf } from './nodes';

/** Bytes of the values that nodes make; feeds, state and constants are the caller's. Nodes run in the list's order. */
export function peakBytes(trace: Trace): number {
  const { nodes } = trace;
  const roots = viewRoots(nodes);
  const lastRead = new Map<Value, number>();
  nodes.forEach(({ inputs }, at) => inputs.forEach(input => lastRead.set(roots.get(input) ?? input, at)));
  const leaves = new Set(leavesOf(trace));
  const ends = new Map<number, number>();
  let [live, peak] = [0, 0];
  nodes.forEach(({ outputs }, at) => {
    for (const output of outputs) {
      if (leaves.has(output) || roots.has(output)) continue;
      const bytes = bytesOf(output);
      live += bytes;
      const end = lastRead.get(output) ?? at;
      ends.set(end, (ends.get(end) ?? 0) + bytes);
    }
    peak = Math.max(peak, live);
    live -= ends.get(at) ?? 0;
  });
  return peak;
}

/** Views, each with the value whose memory it is of: that one stays as long as any of them is read. */
function viewRoots(nodes: Trace['nodes']): Map<Value, Value> {
  const roots = new Map<Value, Value>();
  for (const { kernel, inputs: [input], outputs: [output] } of nodes) {
    if (kernel === 'Reshape' && !input!.source) roots.set(output!, roots.get(input!) ?? input!);
  }
  return roots;
}

/** By how many bytes a value that a node makes is larger in another list of the same nodes, at most. */
export function largestGrowth(one: Trace, other: Trace): number {
  const bytes = ({ nodes }: Trace) => nodes.flatMap(({ outputs }) => outputs.map(bytesOf));
  const before = bytes(one);
  return bytes(other).reduce((largest, after, i) => Math.max(largest, after - (before[i] ?? after)), 0);
}

function bytesOf({ shape, dtype }: Value): number {
  return sizeOf(shape) * (dtype === 'bool' ? 1 : 4);
}
