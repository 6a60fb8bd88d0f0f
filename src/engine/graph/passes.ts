/**
 * Rewrites of the neutral list that change no number: what nobody reads is removed, arithmetic with 0 and 1 is left
 * out, and nodes are put in the order that frees memory early.
 */
import { UserError } from '../../common/errors';
import { foldScales } from './fold-scales';
import { fuseSums } from './fuse-sums';
import { narrowRows } from './narrow-rows';
import type { Node, Trace, Value } from './nodes';
import { leadingTo, leavesOf, makersOf, sameShape, sizeOf, uniformValue } from './nodes';

export interface Pass {
  name: string;
  run(trace: Trace): Trace;
}

/** In the order in which they run; each may be left out for diagnosis. */
export const passes: readonly Pass[] = [
  { name: 'drop-identities', run: dropIdentities },
  { name: 'drop-unused', run: dropUnused },
  { name: 'narrow-rows', run: trace => dropUnused(narrowRows(trace)) },
  { name: 'fuse-sums', run: fuseSums },
  { name: 'fold-scales', run: foldScales },
  { name: 'free-early', run: freeEarly },
];

export interface OptimizeOptions {
  /** Names of passes that are left out. UserError where there is none of a name. */
  without?: readonly string[];
  /** An engine's own, which run later. */
  others?: readonly Pass[];
}

export function optimize(trace: Trace, { without = [], others = [] }: OptimizeOptions = {}): Trace {
  const known = [...passes, ...others].map(({ name }) => name);
  const unknown = without.find(name => !known.includes(name));
  if (unknown !== undefined) throw new UserError({ what: `there is no pass '${unknown}'`, where: 'PEFT_LAB_WITHOUT_PASSES', remedy: `Passes are ${known.join(', ')}.` });
  return passes.filter(pass => !without.includes(pass.name)).reduce((t, pass) => pass.run(t), trace);
}

/** x * 1, x + 0, x - 0, x / 1 and reshapes to the same shape become x. */
export function dropIdentities(trace: Trace): Trace {
  const replaced = new Map<Value, Value>();
  const resolve = (value: Value) => replaced.get(value) ?? value;
  const nodes: Node[] = [];
  for (const original of trace.nodes) {
    const node = { ...original, inputs: original.inputs.map(resolve) };
    const same = identityOf(node);
    if (same) replaced.set(node.outputs[0]!, same);
    else nodes.push(node);
  }
  return { ...trace, nodes, fetches: mapValues(trace.fetches, resolve), updates: mapValues(trace.updates, resolve) };
}

const neutral: Record<string, { left?: number; right?: number }> = {
  Multiply: { left: 1, right: 1 }, Add: { left: 0, right: 0 }, Sub: { right: 0 }, RealDiv: { right: 1 },
};

function identityOf({ kernel, inputs, outputs }: Node): Value | null {
  const shape = outputs[0]!.shape;
  if (kernel === 'Reshape' && sameShape(inputs[0]!.shape, shape)) return inputs[0]!;
  if (kernel === 'Cast' && inputs[0]!.dtype === outputs[0]!.dtype) return inputs[0]!;
  const rule = neutral[kernel];
  if (!rule) return null;
  const [a, b] = inputs as [Value, Value];
  if (rule.right !== undefined && uniformValue(b) === rule.right && sameShape(a.shape, shape)) return a;
  if (rule.left !== undefined && uniformValue(a) === rule.left && sameShape(b.shape, shape)) return b;
  return null;
}

/** Nodes from which no fetch and no update can be reached. */
export function dropUnused(trace: Trace): Trace {
  return { ...trace, nodes: leadingTo(leavesOf(trace), trace.nodes) };
}

/**
 * The given order, except that a node which does not make the live memory grow runs as soon as it can, and one that reads
 * only what the program was given no sooner than somebody needs it. Weight gradients and updates, which tracing leaves to
 * the end, then run as soon as what they read could be freed.
 */
export function freeEarly(trace: Trace): Trace {
  const readers = countReaders(trace);
  const makers = makersOf(trace.nodes);
  const late = new Set(trace.nodes.filter(node => isLate(node, trace)));
  const waitsFor = (node: Node) => new Set(node.inputs.filter(i => !i.source && !late.has(makers.get(i)!)));
  const waiting = new Map(trace.nodes.map(node => [node, waitsFor(node).size]));
  const users = usersOf(trace.nodes);
  const ready = trace.nodes.map((node, index) => ({ node, index })).filter(({ node }) => waiting.get(node) === 0 && !late.has(node));
  const position = new Map(trace.nodes.map((node, index) => [node, index]));
  const written = new Set(trace.updates.values());
  const order: Node[] = [];
  const put = (node: Node) => {
    order.push(node);
    for (const input of new Set(node.inputs)) readers.set(input, readers.get(input)! - 1);
  };
  while (ready.length) {
    const chosen = takeNext(ready, { readers, written });
    for (const input of chosen.inputs) {
      const maker = makers.get(input);
      if (maker && late.delete(maker)) put(maker);
    }
    put(chosen);
    for (const user of new Set(chosen.outputs.flatMap(output => users.get(output) ?? []))) {
      const left = waiting.get(user)! - [...new Set(user.inputs)].filter(i => chosen.outputs.includes(i)).length;
      waiting.set(user, left);
      if (left === 0) insertSorted(ready, { node: user, index: position.get(user)! });
    }
  }
  return { ...trace, nodes: order };
}

function countReaders(trace: Trace): Map<Value, number> {
  const readers = new Map<Value, number>();
  for (const value of leavesOf(trace)) readers.set(value, Infinity);
  for (const node of trace.nodes) for (const input of new Set(node.inputs)) readers.set(input, (readers.get(input) ?? 0) + 1);
  return readers;
}

/** Reads only feeds, state and constants, and is read by a node. */
function isLate({ inputs, outputs }: Node, trace: Trace): boolean {
  const leaves = new Set(leavesOf(trace));
  return inputs.every(input => input.source) && !outputs.some(output => leaves.has(output));
}

interface Ready { node: Node; index: number }

/** The earliest ready node that frees at least as much as it makes, else the earliest. */
function takeNext(ready: Ready[], memory: Memory): Node {
  const found = ready.findIndex(({ node }) => growth(node, memory) <= 0);
  return ready.splice(Math.max(found, 0), 1)[0]!.node;
}

interface Memory {
  /** How many nodes have yet to read a value. */
  readers: Map<Value, number>;
  /** New state, which lies in the state's own buffers. */
  written: Set<Value>;
}

function growth(node: Node, { readers, written }: Memory): number {
  const made = node.outputs.filter(o => !written.has(o)).reduce((sum, o) => sum + sizeOf(o.shape), 0);
  const freed = [...new Set(node.inputs)].filter(i => !i.source && readers.get(i) === 1).reduce((sum, i) => sum + sizeOf(i.shape), 0);
  return made - freed;
}

function usersOf(nodes: readonly Node[]): Map<Value, Node[]> {
  const users = new Map<Value, Node[]>();
  for (const node of nodes) for (const input of new Set(node.inputs)) users.set(input, [...(users.get(input) ?? []), node]);
  return users;
}

function insertSorted(ready: Ready[], item: Ready): void {
  const at = ready.findIndex(other => other.index > item.index);
  ready.splice(at < 0 ? ready.length : at, 0, item);
}

function mapValues(map: Map<string, Value>, change: (value: Value) => Value): Map<string, Value> {
  return new Map([...map].map(([name, value]) => [name, change(value)]));
}
