/**
 * The method contract. A file in src/methods default-exports one Method; counting, freezing, saving, loading, merging
 * and the schema are derived from it here, once, for all methods.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { z } from 'zod';
import type { Architecture } from '../common/trial';

export interface Method<Options = Record<string, unknown>> {
  title: string;
  /** One sentence for IntelliSense and tables. */
  summary: string;
  /** Offered in a new study without asking: one method of each kind. */
  suggested?: boolean;
  paper: { title: string; url: string };
  /** Raised when the mathematics change; part of a trial's id. */
  version: number;
  /** Every option has a default; `.meta({ search: [...] })` gives the study's grid. */
  options: z.ZodObject;
  /** First match wins; every base parameter must match one rule. */
  trains: readonly TrainRule[];
  /** New tensors, by name; pure, so that counts are known without tensors. */
  tensors?(architecture: Architecture, options: Options): TensorDeclaration[];
  /** Whether the model computes the frozen backbone's function before training; when not, why. */
  identityAtStart(options: Options): true | string;
  /** How the method takes part in the forward pass. */
  act?: Hooks<Options>;
  /** New values of base tensors that make the inserted tensors redundant; absent where that cannot be. */
  fold?(base: FoldInput, options: Options): Record<string, Float32Array>;
}

export interface TrainRule {
  pattern: RegExp;
  train: boolean;
}

export interface TensorDeclaration {
  name: string;
  shape: readonly number[];
  initial: Initializer;
}

/** Where a tensor's first values come from. Limits and deviations are absolute, not scaled by the shape. */
export type Initializer =
  | { kind: 'constant'; value: number }
  | { kind: 'uniform'; limit: number }
  | { kind: 'normal'; std: number; mean?: number };

/** Rows are token-major: row `token * batch + image`. */
export interface HookContext<Options> {
  options: Options;
  architecture: Architecture;
  /** Index of the block, 0 first. */
  block: number;
  batch: number;
  /** The method's own tensor. */
  tensor(name: string): Tensor;
  /** Inverted dropout with a mask that is an input of the program; the identity outside training. `site` names the mask. */
  dropout(x: Tensor, rate: number, site: string): Tensor;
  /** Drop path for this block with its own mask; the identity outside training or at rate 0. */
  dropPath(x: Tensor, site: string): Tensor;
  /** LayerScale of the attention or MLP branch; the identity for backbones that have none. */
  layerScale(x: Tensor, branch: Branch): Tensor;
}

export type Branch = 'attention' | 'mlp';
export type LinearSite = 'qkv' | 'proj' | 'fc1' | 'fc2';

/** Each hook gets what it may replace and returns it, changed or not. Shapes in rows, see HookContext. */
export interface Hooks<Options> {
  /** Tokens to put in front of the class token for this block only: [count * batch, width]. */
  prompts?(context: HookContext<Options>): Tensor | null;
  /** Input of a linear layer, [rows, in]. */
  linearInput?(x: Tensor, site: LinearSite, context: HookContext<Options>): Tensor;
  /** Output of a linear layer, [rows, out], with that layer's input. */
  linearOutput?(y: Tensor, x: Tensor, site: LinearSite, context: HookContext<Options>): Tensor;
  /** What a sub-layer adds to the residual stream, after LayerScale and drop path, [rows, width]. */
  branchOutput?(y: Tensor, inputs: BranchInputs, branch: Branch, context: HookContext<Options>): Tensor;
}

export interface BranchInputs {
  /** The residual stream before the branch's LayerNorm. */
  residual: Tensor;
  /** After it. */
  normalized: Tensor;
}

export interface FoldInput {
  architecture: Architecture;
  /** A base tensor's values, row-major, by timm name. */
  base(name: string): Float32Array;
  /** A trained tensor's values. */
  trained(name: string): Float32Array;
}

/** Keeps the options' type inside the file and erases it outside. */
export function defineMethod<Schema extends z.ZodObject>(
  method: Omit<Method<z.output<Schema>>, 'options'> & { options: Schema },
): Method {
  return method as unknown as Method;
}
