/**
 * A traced program: a neutral list of nodes in an order in which they can run. Operations are tfjs kernels and the
 * fused ones of engine/fused.ts, by name; a writer turns the list into the format of some runtime.
 */
import type { DType } from '../program';

/** What products may be computed in where a lower precision is asked for; see half-precision.ts. */
export type HalfType = 'float16' | 'bfloat16';

export interface Value {
  /** Unique within a trace. */
  id: number;
  shape: readonly number[];
  dtype: DType | 'int32' | HalfType;
  /** Where it comes from when no node makes it. */
  source?: ValueSource;
}

export type ValueSource =
  | { kind: 'feed' | 'state' | 'constant'; name: string }
  /** A number that the program holds itself; `uniform` when all elements are that one value. */
  | { kind: 'literal'; data: Float32Array | Int32Array | Uint8Array; uniform: number | null };

export interface Node {
  kernel: string;
  inputs: readonly Value[];
  outputs: readonly Value[];
  attributes: Attributes;
}

export type Attributes = Record<string, number | boolean | readonly number[]>;

export interface Trace {
  nodes: Node[];
  /** Feeds, state and constants that the program was given, by name. */
  inputs: Map<string, Value>;
  fetches: Map<string, Value>;
  /** New values of the state that changes. */
  updates: Map<string, Value>;
}

let lastId = 1e9; // more than a trace has

/** A value that a pass adds to a trace. */
export function freshValue(shape: readonly number[], dtype: Value['dtype']): Value {
  return { id: lastId++, shape, dtype };
}

/** What a program is run for: its fetches and its new state. */
export function leavesOf({ fetches, updates }: Trace): Value[] {
  return [...fetches.values(), ...updates.values()];
}

/** The node that makes a value. */
export function makersOf(nodes: readonly Node[]): Map<Value, Node> {
  return new Map(nodes.flatMap(node => node.outputs.map(output => [output, node] as const)));
}

/** How often a value is read, as a leaf too. */
export function countReads(trace: Trace): Map<Value, number> {
  const reads = new Map<Value, number>();
  for (const value of [...trace.nodes.flatMap(({ inputs }) => inputs), ...leavesOf(trace)]) reads.set(value, (reads.get(value) ?? 0) + 1);
  return reads;
}

/** The nodes that lead to some values, in their order. */
export function leadingTo(values: readonly Value[], nodes: readonly Node[]): Node[] {
  const needed = new Set(values);
  return [...nodes].reverse().filter(({ inputs, outputs }) => {
    if (!outputs.some(output => needed.has(output))) return false;
    for (const input of inputs) needed.add(input);
    return true;
  }).reverse();
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** The value of all elements of a literal, null when it is none or they differ. */
export function uniformValue(value: Value): number | null {
  return value.source?.kind === 'literal' ? value.source.uniform : null;
}
