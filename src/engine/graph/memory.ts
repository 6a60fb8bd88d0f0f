/** How much memory a list of nodes holds at its worst moment, by who still reads what. */
import type { Trace, Value } from './nodes';
import { sizeOf } from './nodes';

/** Bytes of the values that nodes make; feeds, state and constants are the caller's. Nodes run in the list's order. */
export function peakBytes({ nodes, fetches, updates }: Trace): number {
  const lastRead = new Map<Value, number>();
  nodes.forEach(({ inputs }, at) => inputs.forEach(input => lastRead.set(input, at)));
  const stays = new Set([...fetches.values(), ...updates.values()]);
  const ends = new Map<number, number>();
  let [live, peak] = [0, 0];
  nodes.forEach(({ inputs, outputs, kernel }, at) => {
    // A view is of its input's memory; it is counted as long as the longer of the two is read, which errs to the safe side.
    for (const output of outputs) {
      if (stays.has(output)) continue;
      const bytes = kernel === 'Reshape' && !inputs[0]!.source ? 0 : bytesOf(output);
      live += bytes;
      const end = lastRead.get(output) ?? at;
      ends.set(end, (ends.get(end) ?? 0) + bytes);
    }
    peak = Math.max(peak, live);
    live -= ends.get(at) ?? 0;
  });
  return peak;
}

/** Bytes of the largest value that a node makes. */
export function largestBytes({ nodes }: Trace): number {
  return nodes.reduce((largest, { outputs }) => Math.max(largest, ...outputs.map(bytesOf)), 0);
}

function bytesOf({ shape, dtype }: Value): number {
  return sizeOf(shape) * (dtype === 'bool' ? 1 : 4);
}
