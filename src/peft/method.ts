/**
 * The method contract. A file in src/methods default-exports one Method; counting, freezing, saving, loading, merging,
 * interpolating, combining, the schema and the documentation are derived from it here, once, for all methods.
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
  /** What its page says beside the options. */
  page: MethodPage<Options>;
  /** What is wrong with the options on this backbone, in words; null when nothing is. */
  refuses?(architecture: Architecture, options: Options): string | null;
  /** First match wins; every base parameter must match one rule. */
  trains: readonly TrainRule[] | ((architecture: Architecture, options: Options) => readonly TrainRule[]);
  /** New tensors, by name; pure, so that counts are known without tensors. */
  tensors?(architecture: Architecture, options: Options): TensorDeclaration[];
  /** Whether the model computes the frozen backbone's function before training; when not, why. */
  identityAtStart(options: Options): true | string;
  /** It measures the backbone's own weights, so that in a combination it acts before what else changes a layer. */
  actsFirst?: true;
  /** How the method takes part in the forward pass. */
  act?: Hooks<Options>;
  /** What its gradient takes for a constant on purpose, where it is therefore not the slope of the loss. */
  detached?: string;
  /**
   * New values of base tensors that make the inserted tensors redundant; absent where that cannot be. A text is the
   * reason why it cannot be with these options or on this backbone.
   */
  fold?(base: FoldInput, options: Options): Record<string, Float32Array> | string;
  /**
   * What is left of a trained adapter where part of it served the training alone: the options under which the rest is
   * a whole adapter that computes the same, and what it holds. Null where nothing can be left out.
   */
  condense?(input: Omit<FoldInput, 'base'>, options: Options): Condensed | null;
  /** How a share of the fine-tuning is had; see peft/interpolate.ts. */
  interpolation: Interpolation | ((options: Options) => Interpolation);
  /** The added tensors at a share alpha, where moving each towards its `neutral` value is not it. */
  interpolate?(input: FoldInput & { alpha: number }, options: Options): Record<string, Float32Array>;
}

export type MethodKind = 'head' | 'whole backbone' | 'selection' | 'prompts' | 'adapter' | 'low rank' | 'scaling' | 'representation' | 'sparse';

export interface MethodPage<Options = Record<string, unknown>> {
  kind: MethodKind;
  /** In plain text, one line each. D width, L depth, H heads, r rank or bottleneck, n prompts, m hidden / width, N tokens. */
  equations: readonly string[];
  /** Parameters without the head: as text, and as a function that tests hold against the declared tensors. */
  parameters: { formula: string; count(architecture: Architecture, options: Options): number };
  /** Where the study, or the method's paper, found it good. */
  findings: string;
  /** What its numbers are compared with in test/. */
  checkedAgainst: readonly string[];
  /** What Hugging Face's PEFT calls it, where that library holds it. */
  huggingFace?: string;
}

/**
 * weights: the model's weights move on a straight line. parameters: each trained tensor does, but products of two of
 * them do not. module: what the method's modules add is scaled. folded: the backbone with the adapter folded into it
 * moves on a straight line, since the adapter itself cannot.
 */
export type Interpolation = { kind: 'weights' | 'parameters' | 'module' | 'folded' } | { refused: string };

export interface TrainRule {
  pattern: RegExp;
  train: boolean;
}

export interface TensorDeclaration {
  name: string;
  shape: readonly number[];
  initial: Initializer;
  /** The value at which it has no effect: interpolation moves towards it. Without one, interpolation leaves the tensor as it is. */
  neutral?: number;
  /** Part of the adapter that does not train, such as indices (whole numbers below 2^24, as float32). */
  fixed?: true;
  /** False: weight decay leaves it alone. */
  decay?: false;
}

/** Where a tensor's first values come from. Limits and deviations are absolute, not scaled by the shape. */
export type Initializer =
  | { kind: 'constant'; value: number }
  | { kind: 'uniform'; limit: number }
  /** Values beyond `cutoff` deviations are drawn again. */
  | { kind: 'normal'; std: number; mean?: number; cutoff?: number }
  /** [channels, channels, side, side]: 1 in the middle of each channel's own kernel, so that a convolution is the identity. */
  | { kind: 'centre-tap' }
  /** Row-major, as many as the shape has. `gradients` are base tensors whose gradient it asks for, summed over the first `gradientBatches` (1) batches. */
  | { kind: 'computed'; gradients?: readonly string[]; gradientBatches?: number; values(input: InitialInput): ArrayLike<number> };

export interface InitialInput {
  /** A base tensor's values, row-major, by timm name. */
  base(name: string): Float32Array;
  /** Of the loss of the first batches, before training, with respect to a base tensor that `gradients` names. */
  gradient(name: string): Float32Array;
  /** Standard normal deviates that belong to this tensor and the seed. */
  normals(count: number): Float32Array;
}

/** Rows are token-major: row `token * batch + image`; the class token, the patches, then whatever methods add. */
export interface HookContext<Options> {
  options: Options;
  architecture: Architecture;
  /** Index of the block, 0 first; -1 at the embedding, `depth` behind the last block. */
  block: number;
  batch: number;
  /** The method's own tensor, or the backbone's. */
  tensor(name: string): Tensor;
  /** What the forward pass computed so far, by its name in vit/forward.ts: `blocks.3.attention.normalized`. */
  activation(name: string): Tensor;
  /** Inverted dropout with a mask that is an input of the program; the identity outside training. `site` names the mask. */
  dropout(x: Tensor, rate: number, site: string): Tensor;
  /** Drop path for this block with its own mask; the identity outside training or at rate 0. */
  dropPath(x: Tensor, site: string): Tensor;
  /** LayerScale of the attention or MLP branch; the identity for backbones that have none. */
  layerScale(x: Tensor, branch: Branch): Tensor;
}

export type Branch = 'attention' | 'mlp';
/** The backbone's linear layers: `patch_embed` (patches [grid^2 * batch, 3 * patch^2] to [.., width]), the others in each block. */
export type LinearSite = 'patch_embed' | 'qkv' | 'proj' | 'fc1' | 'fc2';
/** Its LayerNorms: before the first block (CLIP), two in each block, and the final one, which sees class tokens alone. */
export type NormSite = 'norm_pre' | 'norm1' | 'norm2' | 'norm';

/** Each hook gets what it may replace and returns it, changed or not. Shapes in rows, see HookContext. */
export interface Hooks<Options> {
  /** Tokens that go through all blocks, behind the patches: [count * batch, width]. */
  inputTokens?(context: HookContext<Options>): Tensor | null;
  /** Tokens for this block only, behind all others: [count * batch, width]. */
  prompts?(context: HookContext<Options>): Tensor | null;
  /** Tokens for this block only that attend and are not attended to; behind the block they are activation `blocks.<i>.queries`. */
  queries?(context: HookContext<Options>): Tensor | null;
  /** Input of a linear layer, [rows, in]. */
  linearInput?(x: Tensor, site: LinearSite, context: HookContext<Options>): Tensor;
  /** Weight of a linear layer, [out, in]. */
  linearWeight?(weight: Tensor, site: LinearSite, context: HookContext<Options>): Tensor;
  /** Output of a linear layer, [rows, out], with that layer's input. */
  linearOutput?(y: Tensor, x: Tensor, site: LinearSite, context: HookContext<Options>): Tensor;
  /** Output of a LayerNorm, [rows, width]. */
  normOutput?(y: Tensor, site: NormSite, context: HookContext<Options>): Tensor;
  /** Queries, keys and values, [rows, width] each, heads side by side. Keys and values may get more rows. */
  attentionInputs?(inputs: AttentionInputs, context: HookContext<Options>): AttentionInputs;
  /** Scores before the softmax, already divided by sqrt(head width): [batch * heads, queries, keys], heads of an image side by side. */
  attentionScores?(scores: Tensor, context: HookContext<Options>): Tensor;
  /** What a sub-layer adds to the residual stream, after LayerScale and drop path, [rows, width]. */
  branchOutput?(y: Tensor, inputs: BranchInputs, branch: Branch, context: HookContext<Options>): Tensor;
  /** The residual stream behind a block, without that block's prompts and queries, [rows, width]. */
  blockOutput?(x: Tensor, context: HookContext<Options>): Tensor;
  /** What the classifier reads: the class tokens after the final LayerNorm, [batch, width]. */
  headInput?(x: Tensor, context: HookContext<Options>): Tensor;
}

export interface AttentionInputs {
  q: Tensor;
  k: Tensor;
  v: Tensor;
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

export interface Condensed {
  options: Record<string, unknown>;
  /** Every added tensor of the method with those options. */
  tensors: Record<string, Float32Array>;
}

/** Keeps the options' type inside the file and erases it outside. */
export function defineMethod<Schema extends z.ZodObject>(
  method: Omit<Method<z.output<Schema>>, 'options'> & { options: Schema },
): Method {
  return method as unknown as Method;
}
