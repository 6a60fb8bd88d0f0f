/**
 * The forward pass of a plain Vision Transformer (pre-norm blocks, class token, learned positions), with every
 * activation named and with places for methods to act.
 *
 * Rows are token-major: row `token * batch + image`. The class token comes first, then the patches, then tokens that
 * methods add; all parts of a sequence are ranges of rows, and the class tokens are its first ones, without any copying.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../common/trial';
import { tf } from '../engine/tfjs';
import type { AttentionInputs, Branch, BranchInputs, LinearSite, NormSite } from '../peft/method';
import { hasBias, linearPath, normPath } from './architecture';
import { attention, attentionOfScores, gelu, layerNorm, linear, quickGelu, unitRows } from './operations';

/** Where in a forward pass a hook is called, and what has been computed before it. */
export interface Place {
  /** -1 at the embedding, `depth` behind the last block. */
  block: number;
  activations: Readonly<Record<string, Tensor>>;
}

/** What methods do in a forward pass, bound to one step; see peft/bind.ts. Shapes as in peft/method.ts. */
export interface ForwardHooks {
  inputTokens(at: Place): Tensor | null;
  prompts(at: Place): Tensor | null;
  queries(at: Place): Tensor | null;
  linearInput(x: Tensor, site: LinearSite, at: Place): Tensor;
  linearWeight(weight: Tensor, site: LinearSite, at: Place): Tensor;
  linearOutput(y: Tensor, x: Tensor, site: LinearSite, at: Place): Tensor;
  normOutput(y: Tensor, site: NormSite, at: Place): Tensor;
  attentionInputs(inputs: AttentionInputs, at: Place): AttentionInputs;
  /** Null where scores are left alone: attention is then one fused operation. */
  attentionScores: ((scores: Tensor, at: Place) => Tensor) | null;
  branchOutput(y: Tensor, inputs: BranchInputs, branch: Branch, at: Place): Tensor;
  blockOutput(x: Tensor, at: Place): Tensor;
  headInput(x: Tensor, at: Place): Tensor;
  dropPath(y: Tensor, branch: Branch, at: Place): Tensor;
}

export interface ForwardOptions {
  /** [grid^2 * batch, 3 * patch^2], normalised pixels; columns as in a flattened timm patch embedding weight. */
  patches: Tensor;
  /** Where to start; `patches` is then what the stages before it compute, see stages.ts. 0 when absent. */
  stage?: number;
  batch: number;
  architecture: Architecture;
  /** A base tensor or the head, by timm name. */
  weights(name: string): Tensor;
  hooks?: ForwardHooks;
}

export interface ForwardOutput {
  /** [batch, classes]. */
  logits: Tensor;
  /** What the head reads: class tokens after the final LayerNorm unless a method chooses otherwise, [batch, width]. */
  features: Tensor;
  /** By name: `embedding`, `blocks.3.attention.normalized`, `blocks.3.output`, `norm`, ...: [tokens * batch, ...]. */
  activations: Record<string, Tensor>;
}

export function forward(options: ForwardOptions): ForwardOutput {
  const { architecture: { depth }, weights, patches, stage = 0 } = options;
  const { activations, context } = openPass(options);
  let x = stage === 0 ? embed(context(-1)) : patches;
  for (let block = stage; block < depth; block++) x = runBlock(x, context(block));
  const features = stage > depth ? patches : headInput(x, context(depth));
  const logits = linear(headSpace(features, options), weights('head.weight'), weights('head.bias'));
  return { logits, features, activations };
}

/** Where the classes are told apart: the features themselves, or CLIP's projection of them at unit length. */
function headSpace(features: Tensor, { architecture, weights }: ForwardOptions): Tensor {
  return architecture.projection === undefined ? features : unitRows(linear(features, weights('head.proj.weight')));
}

/** From patches to what a pass that starts at `stage` is given; nothing behind it is computed. */
export function forwardTo(stage: number, options: Omit<ForwardOptions, 'stage'>): Tensor {
  const { architecture: { depth }, batch } = options;
  const { context } = openPass(options);
  let x = embed(context(-1));
  for (let block = 0; block < Math.min(stage, depth); block++) x = runBlock(x, context(block));
  if (stage < depth) return x;
  return stage === depth ? rows(x, 0, batch) : headInput(x, context(depth));
}

function openPass(options: ForwardOptions) {
  const activations: Record<string, Tensor> = {};
  const { depth } = options.architecture;
  const context = (block: number): Context => ({
    ...options, block, activations,
    record: (name, value) => (activations[block < 0 || block === depth ? name : `blocks.${block}.${name}`] = value),
  });
  return { activations, context };
}

interface Context extends ForwardOptions, Place {
  record(name: string, value: Tensor): Tensor;
}

/** Patches to tokens: linear embedding, class token in front, positions added -> [tokens * batch, width]. */
function embed(context: Context): Tensor {
  const { patches, batch, architecture: { width, preNorm }, weights, hooks, record } = context;
  const embedded = siteLinear(patches, 'patch_embed', context);
  const classToken = tf.tile(tf.reshape(weights('cls_token'), [1, width]), [batch, 1]);
  const tokens = tf.concat([classToken, embedded], 0);
  const count = tokens.shape[0]! / batch;
  const positions = tf.reshape(weights('pos_embed'), [count, 1, width]);
  const placed = tf.reshape(tf.add(tf.reshape(tokens, [count, batch, width]), positions), [count * batch, width]);
  const normed = preNorm ? siteNorm(placed, 'norm_pre', context) : placed;
  return record('embedding', append(normed, hooks?.inputTokens(context)));
}

/** Tokens to what the head reads: class tokens, normalised, and what a method makes of them. */
function headInput(x: Tensor, context: Context): Tensor {
  const { batch, hooks, record } = context;
  const classTokens = record('norm', siteNorm(record('classTokens', rows(x, 0, batch)), 'norm', context));
  return record('features', hooks ? hooks.headInput(classTokens, context) : classTokens);
}

/** One block; its prompts and queries stand behind its tokens and are taken off again behind it. */
function runBlock(input: Tensor, context: Context): Tensor {
  const { hooks, record } = context;
  const queries = hooks?.queries(context) ?? null;
  const tokens = append(append(input, hooks?.prompts(context)), queries);
  const unseen = queries?.shape[0] ?? 0;
  const x = runBranch(runBranch(tokens, 'attention', context, unseen), 'mlp', context);
  if (unseen) record('queries', rows(x, x.shape[0]! - unseen, unseen));
  const output = rows(x, 0, input.shape[0]!);
  return record('output', hooks ? hooks.blockOutput(output, context) : output);
}

/** residual + branch(LayerNorm(residual)), with LayerScale, drop path and the methods' own terms. The last `unseen` rows only attend. */
function runBranch(residual: Tensor, branch: Branch, context: Context, unseen = 0): Tensor {
  const { architecture, block, weights, hooks, record } = context;
  const [norm, scale] = branch === 'attention' ? ['norm1', 'ls1'] as const : ['norm2', 'ls2'] as const;
  const normalized = record(`${branch}.normalized`, siteNorm(residual, norm, context));
  let y = branch === 'attention' ? selfAttention(normalized, context, unseen) : mlp(normalized, context);
  if (architecture.layerScale) y = tf.mul(y, weights(`blocks.${block}.${scale}.gamma`));
  if (hooks) y = hooks.branchOutput(hooks.dropPath(y, branch, context), { residual, normalized }, branch, context);
  record(`${branch}.output`, y);
  return record(`${branch}.sum`, tf.add(residual, y));
}

function selfAttention(x: Tensor, context: Context, unseen: number): Tensor {
  const { architecture: { heads }, batch, hooks, record } = context;
  const [q, k, v] = tf.split(record('attention.qkv', siteLinear(x, 'qkv', context)), 3, 1) as [Tensor, Tensor, Tensor];
  const seen = x.shape[0]! - unseen;
  const plain = { q, k: rows(k, 0, seen), v: rows(v, 0, seen) };
  const inputs = hooks ? hooks.attentionInputs(plain, context) : plain;
  const scores = hooks?.attentionScores;
  const mixed = scores
    ? attentionOfScores(inputs, { batch, heads }, values => scores(values, context))
    : attention(inputs.q, inputs.k, inputs.v, { batch, heads });
  return siteLinear(record('attention.mixed', mixed), 'proj', context);
}

function mlp(x: Tensor, context: Context): Tensor {
  const hidden = context.record('mlp.hidden', siteLinear(x, 'fc1', context));
  const active = context.architecture.activation === 'gelu' ? gelu(hidden) : quickGelu(hidden);
  return siteLinear(context.record('mlp.active', active), 'fc2', context);
}

function siteLinear(input: Tensor, site: LinearSite, context: Context): Tensor {
  const { block, weights, hooks } = context;
  const path = linearPath(site, block);
  const bias = hasBias(site, context.architecture) ? weights(`${path}.bias`) : null;
  const weight = site === 'patch_embed' ? flattened(weights(`${path}.weight`)) : weights(`${path}.weight`);
  if (!hooks) return linear(input, weight, bias);
  const x = hooks.linearInput(input, site, context);
  return hooks.linearOutput(linear(x, hooks.linearWeight(weight, site, context), bias), x, site, context);
}

function siteNorm(x: Tensor, site: NormSite, context: Context): Tensor {
  const { architecture, block, weights, hooks } = context;
  const path = normPath(site, block);
  const y = layerNorm(x, weights(`${path}.weight`), weights(`${path}.bias`), architecture.layerNormEpsilon);
  return hooks ? hooks.normOutput(y, site, context) : y;
}

/** [width, 3, patch, patch] -> [width, 3 * patch^2]. */
function flattened(kernel: Tensor): Tensor {
  return tf.reshape(kernel, [kernel.shape[0]!, -1]);
}

function append(x: Tensor, more: Tensor | null | undefined): Tensor {
  return more ? tf.concat([x, more], 0) : x;
}

function rows(x: Tensor, start: number, count: number): Tensor {
  return count === x.shape[0] ? x : tf.slice(x as tf.Tensor2D, [start, 0], [count, x.shape[1]!]);
}
