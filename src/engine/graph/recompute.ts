/**
 * Recomputation: what the backward pass reads of the forward pass is computed a second time, right before it is read,
 * instead of being kept. Exact to the bit, since the same nodes run on the same numbers.
 *
 *   attention  the probabilities, [batch * heads, tokens, tokens] of every block: one product and a softmax again
 *   blocks     all but the residual stream: a third more arithmetic, and of the activations only the stream stays
 *
 * The forward pass is what leads to the fetch `loss`. Where the residual stream is, the list itself tells: a value through
 * which everything must pass on its way from the feeds to the loss. The order of the list is kept.
 */
import type { Recompute } from '../program';
import type { Node, Trace, Value } from './nodes';
import { freshValue, leadingTo, makersOf } from './nodes';

export function recompute(trace: Trace, what: Recompute): Trace {
  const loss = trace.fetches.get('loss');
  if (what === 'off' || !loss) return trace;
  const forward = leadingTo([loss], trace.nodes);
  const makers = makersOf(forward);
  const kept = what === 'attention' ? keptBesideProbabilities(trace.nodes, makers) : keptBesideBlocks(trace, forward);
  return { ...trace, nodes: rewrite(trace.nodes, { forward: new Set(forward), makers, kept }) };
}

/** Says of a value of the forward pass whether the backward pass may go on reading it. */
type Kept = (value: Value) => boolean;

function keptBesideProbabilities(nodes: readonly Node[], makers: Map<Value, Node>): Kept {
  const gradients = nodes.filter(({ kernel }) => kernel === 'AttentionGradient');
  const probabilities = new Set(gradients.map(({ inputs }) => inputs[5]!).filter(p => makers.get(p)?.kernel === 'Attention'));
  return value => !probabilities.has(value);
}

/** The values that everything passes through, and what comes after the last but one of them: it was only just computed. */
function keptBesideBlocks({ nodes, fetches }: Trace, forward: readonly Node[]): Kept {
  const streams = bottlenecks(forward, fetches.get('loss')!);
  const last = streams.at(-3);
  const from = last ? forward.findIndex(({ outputs }) => outputs.includes(last)) : 0;
  const late = new Set(forward.slice(from).flatMap(({ outputs }) => outputs));
  const early = new Set(nodes.filter(({ inputs }) => inputs.every(input => input.source)).flatMap(({ outputs }) => outputs));
  const stay = new Set([...streams, ...late, ...early]);
  return value => stay.has(value);
}

/** Values of the forward pass that are, at some moment, all that is still needed of what was computed from feeds. */
function bottlenecks(forward: readonly Node[], loss: Value): Value[] {
  const lastRead = new Map<Value, number>([[loss, forward.length]]);
  forward.forEach(({ inputs }, at) => inputs.forEach(input => lastRead.set(input, Math.max(at, lastRead.get(input) ?? 0))));
  const fromFeeds = new Set<Value>();
  let live: Value[] = [];
  const found: Value[] = [];
  forward.forEach(({ inputs, outputs }, at) => {
    if (inputs.some(input => fromFeeds.has(input) || (input.source?.kind === 'feed' && input.shape.length === 2))) {
      for (const output of outputs) fromFeeds.add(output);
      live.push(...outputs);
    }
    live = live.filter(value => (lastRead.get(value) ?? -1) > at);
    if (live.length === 1 && live[0] !== found.at(-1)) found.push(live[0]!);
  });
  return found;
}

interface Rewriting {
  forward: Set<Node>;
  makers: Map<Value, Node>;
  kept: Kept;
}

function rewrite(nodes: readonly Node[], { forward, makers, kept }: Rewriting): Node[] {
  const result: Node[] = [];
  const again = new Map<Value, Value>();
  /** The value itself where it is kept, else made again from what is. */
  const anew = (value: Value): Value => {
    const maker = makers.get(value);
    if (!maker || kept(value)) return value;
    if (!again.has(value)) {
      const inputs = maker.inputs.map(anew);
      const outputs = maker.outputs.map(({ shape, dtype }) => freshValue(shape, dtype));
      maker.outputs.forEach((output, i) => again.set(output, outputs[i]!));
      result.push({ ...maker, inputs, outputs });
    }
    return again.get(value)!;
  };
  for (const node of nodes) result.push(forward.has(node) ? node : { ...node, inputs: node.inputs.map(anew) });
  return result;
}
