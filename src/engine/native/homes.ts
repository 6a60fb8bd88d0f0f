/** Where a program's results are written: into the state itself where nothing still reads what was there, else into memory of their own. */
import type { Node, Trace, Value } from '../graph/nodes';
import { freshValue, sameShape } from '../graph/nodes';
import { isDense, type Layouts } from './layout';

/** A buffer outside the block, named by what it holds. */
export interface Home {
  kind: 'state' | 'fetch';
  name: string;
}

export interface Homes {
  /** Values that are made right where they shall be. */
  ofRoot: Map<Value, Home>;
  /** The others, which are copied there at the end, in this order. */
  copies: { value: Value; home: Home }[];
}

/** New state that is old state of a name is copied aside first: it may be written over. */
export function keepOldState(trace: Trace): Trace {
  const nodes = [...trace.nodes];
  const updates = new Map([...trace.updates].map(([name, value]) => {
    const isOld = value.source?.kind === 'state';
    const kept = isOld ? freshValue(value.shape, value.dtype) : value;
    if (isOld) nodes.push({ kernel: 'Cast', inputs: [value], outputs: [kept], attributes: {} });
    return [name, kept];
  }));
  return { ...trace, nodes, updates };
}

export function findHomes(nodes: readonly Node[], trace: Trace, layouts: Layouts): Homes {
  const homes: Homes = { ofRoot: new Map(), copies: [] };
  const settle = (value: Value, home: Home, isFree: boolean) => {
    const isOwn = !value.source && layouts(value).root === value && !homes.ofRoot.has(value);
    if (isOwn && isFree) homes.ofRoot.set(value, home);
    else homes.copies.push({ value, home });
  };
  for (const [name, value] of trace.fetches) settle(value, { kind: 'fetch', name }, true);
  for (const [name, value] of trace.updates) settle(value, { kind: 'state', name }, mayReplace(trace.inputs.get(name)!, value, { nodes, trace, layouts }));
  return homes;
}

interface Where {
  nodes: readonly Node[];
  trace: Trace;
  layouts: Layouts;
}

/** Whether everything that reads the old state has run when the new one is first written to. */
function mayReplace(old: Value, value: Value, { nodes, trace, layouts }: Where): boolean {
  if ([...trace.fetches.values(), ...trace.updates.values()].some(leaf => layouts(leaf).root === old)) return false;
  const reads = (node: Node) => node.inputs.some(input => layouts(input).root === old);
  const first = nodes.findIndex(({ outputs }) => outputs.some(output => layouts(output).root === value));
  return first >= 0 && nodes.every((node, at) => !reads(node) || at < first || (at === first && readsBeforeWriting(node, old, value, layouts)));
}

/** Whether the node reads each element of the old state before it writes the same of the new one, and not again. */
function readsBeforeWriting({ kernel, inputs, outputs, attributes }: Node, old: Value, value: Value, layouts: Layouts): boolean {
  if (!outputs.includes(value)) return false;
  const readings = inputs.map((input, index) => ({ input, index })).filter(({ input }) => layouts(input).root === old);
  const inPlace = readings.every(({ input }) => sameShape(input.shape, value.shape) && isDense(input.shape, layouts(input).strides) && layouts(input).offset === 0);
  if (!inPlace) return false;
  return kernel === 'Chain' || (kernel === 'Product' && outputs.length === 1 && readings.every(({ index }) => index === attributes['addend']));
}
