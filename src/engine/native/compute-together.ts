/**
 * Neighbours that work row by row are computed together, some rows at a time: what one makes is in the cache when the next
 * reads it, and what nobody else reads never lies in memory. Row by row work products with a weight, LayerNorm, its gradient,
 * element-wise chains of matrices, and sums of their rows up to what a few rows come to.
 */
import type { Node, Trace, Value } from '../graph/nodes';
import { leavesOf, sameShape, sizeOf } from '../graph/nodes';
import type { Layouts } from './layout';
import { planMemory } from './memory';

/** With fewer rows, columns are shared out to threads instead. */
const leastRows = 192;

/** After so many nodes that had to wait for a group it ends: what they read would be held for too long. */
const patience = 12;

/** Brings such neighbours side by side, and gives those that belong together a number: their attribute `together`. */
export function computeTogether(trace: Trace): Trace {
  const grouping = new Grouping(new Set(leavesOf(trace)));
  for (const node of trace.nodes) grouping.add(node);
  return { ...trace, nodes: grouping.finish() };
}

class Grouping {
  private readonly nodes: Node[] = [];
  private group: Node[] = [];
  private waiting: Node[] = [];
  private count = 0;

  constructor(private readonly leaves: Set<Value>) {}

  add(node: Node): void {
    const rows = rowPlaces(node).outputs.some(i => this.leaves.has(node.outputs[i]!)) ? null : rowsOf(node);
    if (rows !== null) {
      if (this.group.length && !this.mayJoin(node, rows)) this.close();
      this.group.push(node);
    } else if (this.group.length) {
      this.waiting.push(node);
      if (this.waiting.length === patience) this.close();
    } else this.nodes.push(node);
  }

  finish(): Node[] {
    this.close();
    return this.nodes;
  }

  /** Not where it reads what had to wait, or other rows of what the group makes than its own. */
  private mayJoin(node: Node, rows: number): boolean {
    const [made, late] = [this.group, this.waiting].map(nodes => new Set(nodes.flatMap(({ outputs }) => outputs))) as [Set<Value>, Set<Value>];
    const { inputs } = rowPlaces(node);
    return rowsOf(this.group[0]!) === rows && node.inputs.every((input, i) => !late.has(input) && (!made.has(input) || inputs.includes(i)));
  }

  private close(): void {
    const isAlone = this.group.length < 2;
    this.nodes.push(...this.group.map(node => (isAlone ? node : { ...node, attributes: { ...node.attributes, together: this.count } })), ...this.waiting);
    this.count++;
    [this.group, this.waiting] = [[], []];
  }
}

/** How many rows a node works on, one as it does any other; null where it does not work so. */
function rowsOf(node: Node): number | null {
  const { kernel, inputs, outputs: [output], attributes } = node;
  const { shape } = kernel === 'Sum' ? inputs[0]! : output!;
  const [rows, width] = shape as [number, number];
  return shape.length === 2 && rows >= leastRows && isRowwise() ? rows : null;

  function isRowwise(): boolean {
    switch (kernel) {
      case 'Product': return !attributes['transposeA'] && !attributes['inQuarters'] && attributes['keep'] === undefined;
      case 'Norm': case 'NormGradient': return true;
      case 'Sum': return String(attributes['axes']) === '0' && width > 1;
      case 'Chain': return width > 1 && inputs.every(({ shape }) => sameShape(shape, output!.shape) || sizeOf(shape) === 1 || (sizeOf(shape) === width && shape.at(-1) === width));
      default: return false;
    }
  }
}

/** Which inputs and outputs of such a node are matrices whose rows go with one another, and may have gaps between them. */
function rowPlaces({ kernel, inputs, outputs, attributes }: Node): { inputs: number[]; outputs: number[] } {
  const roles = (...names: string[]) => names.flatMap(name => (attributes[name] === undefined ? [] : [attributes[name] as number]));
  const all = (values: readonly Value[]) => [...values.keys()];
  switch (kernel) {
    case 'Product': return { inputs: [0, ...roles('addend', 'factor')], outputs: all(outputs) };
    case 'Norm': return { inputs: [0], outputs: [0] };
    case 'NormGradient': return { inputs: [0, ...roles('addend')], outputs: [0] };
    case 'Sum': return { inputs: [0], outputs: [] };
    default: return { inputs: all(inputs).filter(i => sameShape(inputs[i]!.shape, outputs[0]!.shape)), outputs: all(outputs) };
  }
}

/** What belongs together, as one node. */
export interface Together extends Node {
  kernel: 'Together';
  nodes: readonly Node[];
  rows: number;
  /** What only a thread holds, for the rows that it works on: where it stands in a row, in bytes. */
  ownRows: ReadonlyMap<Value, number>;
  floatsOfRow: number;
}

export function isTogether(node: Node): node is Together {
  return node.kernel === 'Together';
}

/** Puts nodes with the same number into one. `isElsewhere`: of values that are results of the program. */
export function gatherTogether(nodes: readonly Node[], layouts: Layouts, isElsewhere: (root: Value) => boolean): Node[] {
  const readings = new Map<Value, { node: Node; value: Value; index: number }[]>();
  for (const node of nodes) node.inputs.forEach((value, index) => readings.set(layouts(value).root, [...readings.get(layouts(value).root) ?? [], { node, value, index }]));
  const groups = new Map<number, Node[]>();
  for (const node of nodes) if (node.attributes['together'] !== undefined) groups.set(node.attributes['together'] as number, [...groups.get(node.attributes['together'] as number) ?? [], node]);
  const isOwn = (value: Value, group: readonly Node[]) => layouts(value).root === value && !isElsewhere(value)
    && (readings.get(value) ?? []).every(({ node, value: read, index }) => read === value && group.includes(node) && rowPlaces(node).inputs.includes(index));
  return nodes.flatMap(node => {
    const group = groups.get(node.attributes['together'] as number);
    if (!group) return [node];
    return node === group[0] ? [gather(group, new Set(group.flatMap(made => rowPlaces(made).outputs.map(i => made.outputs[i]!)).filter(value => isOwn(value, group))))] : [];
  });
}

function gather(nodes: readonly Node[], own: ReadonlySet<Value>): Together {
  // A row is planned as the block is: what is not there together shares its place.
  const rows = new Map([...own].map((value): [Value, Value] => [value, { ...value, shape: value.shape.slice(1) }]));
  const planned = new Set(rows.values());
  const { offsets, bytes } = planMemory(nodes, value => ({ root: rows.get(value) ?? value, offset: 0, strides: [1] }), root => !planned.has(root));
  const inputs = new Set(nodes.flatMap(node => node.inputs)), outputs = nodes.flatMap(node => node.outputs);
  return {
    kernel: 'Together', nodes, rows: rowsOf(nodes[0]!)!, ownRows: new Map([...rows].map(([value, row]) => [value, offsets.get(row)!])),
    floatsOfRow: oddLines(bytes) / 4, attributes: {},
    inputs: [...inputs].filter(input => !outputs.includes(input)), outputs: outputs.filter(output => !own.has(output)),
  };
}

/** An odd number of the cache's lines, so that one column's numbers are not all in one set of it. */
function oddLines(bytes: number): number {
  return (Math.floor(bytes / 64 / 2) * 2 + 1) * 64;
}
