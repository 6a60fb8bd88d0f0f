/**
 * The engine interface: a program is a pure function of named tensors, written in tfjs operations; an engine turns
 * programs into executables and keeps their state where it computes.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { EngineId, Precision } from '../common/engines';

export type { EngineId, Precision };

export type DType = 'float32' | 'bool';

export interface TensorSpec {
  name: string;
  shape: readonly number[];
  dtype: DType;
}

/** A tensor outside any engine, row-major. `bool` is one byte an element, 0 or 1. */
export interface HostTensor {
  shape: readonly number[];
  data: Float32Array | Uint8Array;
}
export type HostTensors = Record<string, HostTensor>;
export type Tensors = Record<string, Tensor>;

/**
 * `run` reads feeds, state and constants by name and returns the fetches and the new values of the state it changes.
 * It must be pure and may use only operations that every engine has: transposes of rank 4 or less, no einsum, no
 * gradient through gather. Randomness comes in as feeds.
 */
export interface Program {
  feeds: readonly TensorSpec[];
  run(tensors: Tensors): { fetches: Tensors; state: Tensors };
}

export interface SessionOptions {
  /** By name; one session shares state and constants between its programs. */
  programs: Record<string, Program>;
  /** Initial values of what changes between calls. All float32. */
  state: HostTensors;
  /** Whether the session may change the arrays of `state`: then it needs no copies of them. No array may be there twice. */
  ownsState?: boolean;
  /** What never changes. All float32. The engine may hold on to the arrays: do not write to them. */
  constants: HostTensors;
  /** Whether the session may let go of the arrays of `constants` that it has in another form: nobody else reads them then. No array may be there twice. */
  ownsConstants?: boolean;
  threads: number;
  /** How products are computed; f32 when absent. UserError where the engine cannot. */
  precision?: Precision | undefined;
  /** What is computed again in the backward pass instead of kept; `off` when absent. Engines without a graph do not heed it. */
  recompute?: Recompute | undefined;
  /** Where constants lie; where nobody chose, small ones are built in. Engines without `builtInWeights` do not heed it. */
  weights?: Weights | undefined;
}

/**
 * `built-in`: part of every program, laid out for its products beforehand, which is faster and holds them several times;
 * `fed`: handed to every call, and held once.
 */
export type Weights = 'built-in' | 'fed';

export interface BuiltInWeights {
  /** How many times they are then held by the programs of a trial. */
  copies: number;
  /** They are worth that where the session takes no more than so many times what the activations of a whole step would; Infinity: wherever there is room. */
  worth: number;
}

/** The parts of a step that an engine is fastest with; see train/parts.ts. */
export interface FastParts {
  /** Images, at least. */
  images: number;
  /** Bytes that their widest activation should have: some of it is in the caches when it is read. */
  widest: number;
}

/** See engine/graph/recompute.ts. */
export type Recompute = 'off' | 'attention' | 'blocks';

export interface Session {
  /** Runs one program; its state changes stay in the engine. Errors: unknown program, missing feed, wrong shape. */
  call(program: string, feeds: HostTensors): Promise<HostTensors>;
  /** The state, valid until the next call or write: it may lie where the engine computes. Copy what shall outlast that. */
  readState(): Promise<HostTensors>;
  /** Overwrites state by name; names left out keep their value. */
  writeState(values: HostTensors): Promise<void>;
  /** Where an engine has several ways to execute; it may change at a program's first call. Attempts and doctor show it. */
  execution?(): Execution;
  dispose(): Promise<void>;
}

export interface Execution {
  /** In words, to go on after "it runs". */
  how: string;
  /** Why it is not a better way; empty when it is the best. */
  reasons: readonly string[];
}

export interface Engine {
  id: EngineId;
  /** Whether two runs with one seed and as many threads give the same bits. */
  deterministic: boolean;
  /** What SessionOptions.precision may be. */
  precisions: readonly Precision[];
  /** Computes in a device's memory: when that is used up, another engine may still do. */
  ownMemory?: boolean | undefined;
  /** What it takes to build frozen weights into programs; absent where an engine does not. */
  builtInWeights?: BuiltInWeights | undefined;
  /** Absent where nobody measured. */
  fastParts?: FastParts | undefined;
  /** Throws a UserError that says what is missing on this machine. */
  open(options: SessionOptions): Promise<Session>;
}
