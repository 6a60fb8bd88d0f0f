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
