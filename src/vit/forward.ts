/**
 * The forward pass of a plain Vision Transformer (pre-norm blocks, class token, learned positions), with every
 * activation named and with places for methods to act.
 *
 * Rows are token-major: row `token * batch + image`, the class token first. Prompts then stand in front of a sequence,
 * and the class tokens are its first rows, without any copying.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../common/trial';
import { tf } from '../engine/tfjs';
import type { Branch, BranchInputs, LinearSite } from '../peft/method';
import { attention, gelu, layerNorm, linear, quickGelu } from './operations';

/** What methods do in a forward pass, bound to one step; see peft/bind.ts. Shapes as in peft/method.ts. */
export interface BlockHooks {
  prompts(block: number): Tensor | null;
  linearInput(x: Tensor, site: LinearSite, block: number): Tensor;
  linearOutput(y: Tensor, x: Tensor, site: LinearSite, block: number): Tensor;
  branchOutput(y: Tensor, inputs: BranchInputs, branch: Branch, block: number): Tensor;
  dropPath(y: Tensor, branch: Branch, block: number): Tensor;
}

export interface ForwardOptions {
  /** [grid^2 * batch, 3 * patch^2], normalised pixels; columns as in a flattened timm patch embedding weight. */
  patches: Tensor;
  batch: number;
  architecture: Architecture;
  /** A base tensor or the head, by timm name. */
  weights(name: string): Tensor;
  hooks?: BlockHooks;
}

export interface ForwardOutput {
  /** [batch, classes]. */
  logits: Tensor;
  /** Class tokens after the final LayerNorm, [batch, width]. */
  features: Tensor;
  /** By name: `embedding`, `blocks.3.attention.normalized`, `blocks.3.output`, ...: [tokens * batch, ...]. */
  activations: Record<string, Tensor>;
}

export function forward(options: ForwardOptions): ForwardOutput {
  const { architecture, batch, weights } = options;
  const activations: Record<string, Tensor> = {};
  let x = activations['embedding'] = embed(options);
  for (let block = 0; block < architecture.depth; block++) x = runBlock(x, block, options, activations);
  const classTokens = rows(x, 0, batch);
  const features = layerNorm(classTokens, weights('norm.weight'), weights('norm.bias'), architecture.layerNormEpsilon);
  const logits = linear(features, weights('head.weight'), weights('head.bias'));
  return { logits, features, activations };
}

/** Patches to tokens: linear embedding, class token in front, positions added -> [tokens * batch, width]. */
function embed({ patches, batch, architecture, weights }: ForwardOptions): Tensor {
  const { width, patch } = architecture;
  const kernel = tf.reshape(weights('patch_embed.proj.weight'), [width, 3 * patch * patch]);
  const embedded = linear(patches, kernel, architecture.patchBias ? weights('patch_embed.proj.bias') : null);
  const classToken = tf.tile(tf.reshape(weights('cls_token'), [1, width]), [batch, 1]);
  const tokens = tf.concat([classToken, embedded], 0);
  const count = tokens.shape[0]! / batch;
  const positions = tf.reshape(weights('pos_embed'), [count, 1, width]);
  const placed = tf.reshape(tf.add(tf.reshape(tokens, [count, batch, width]), positions), [count * batch, width]);
  if (!architecture.preNorm) return placed;
  return layerNorm(placed, weights('norm_pre.weight'), weights('norm_pre.bias'), architecture.layerNormEpsilon);
}

/** One block; prompts of the block stand in front of its tokens and are taken off again behind it. */
function runBlock(input: Tensor, block: number, options: ForwardOptions, activations: Record<string, Tensor>): Tensor {
  const prompts = options.hooks?.prompts(block) ?? null;
  const context: BlockContext = { ...options, block, record: (name, value) => (activations[`blocks.${block}.${name}`] = value) };
  let x = prompts ? tf.concat([prompts, input], 0) : input;
  x = runBranch(x, 'attention', context);
  x = runBranch(x, 'mlp', context);
  const output = prompts ? rows(x, prompts.shape[0]!, x.shape[0]! - prompts.shape[0]!) : x;
  return context.record('output', output);
}

interface BlockContext extends ForwardOptions {
  block: number;
  record(name: string, value: Tensor): Tensor;
}

/** residual + branch(LayerNorm(residual)), with LayerScale, drop path and the methods' own terms. */
function runBranch(residual: Tensor, branch: Branch, context: BlockContext): Tensor {
  const { architecture, block, weights, hooks, record } = context;
  const [norm, scale] = branch === 'attention' ? ['norm1', 'ls1'] : ['norm2', 'ls2'];
  const normalized = record(`${branch}.normalized`, layerNorm(
    residual, weights(`blocks.${block}.${norm}.weight`), weights(`blocks.${block}.${norm}.bias`), architecture.layerNormEpsilon));
  let y = branch === 'attention' ? selfAttention(normalized, context) : mlp(normalized, context);
  if (architecture.layerScale) y = tf.mul(y, weights(`blocks.${block}.${scale}.gamma`));
  if (hooks) y = hooks.branchOutput(hooks.dropPath(y, branch, block), { residual, normalized }, branch, block);
  record(`${branch}.output`, y);
  return record(`${branch}.sum`, tf.add(residual, y));
}

function selfAttention(x: Tensor, context: BlockContext): Tensor {
  const { architecture, batch, record } = context;
  const [q, k, v] = tf.split(record('attention.qkv', siteLinear(x, 'qkv', context)), 3, 1) as [Tensor, Tensor, Tensor];
  const mixed = attention(q, k, v, { batch, heads: architecture.heads });
  return siteLinear(record('attention.mixed', mixed), 'proj', context);
}

function mlp(x: Tensor, context: BlockContext): Tensor {
  const hidden = context.record('mlp.hidden', siteLinear(x, 'fc1', context));
  const active = context.architecture.activation === 'gelu' ? gelu(hidden) : quickGelu(hidden);
  return siteLinear(context.record('mlp.active', active), 'fc2', context);
}

const sitePaths = { qkv: 'attn.qkv', proj: 'attn.proj', fc1: 'mlp.fc1', fc2: 'mlp.fc2' } satisfies Record<LinearSite, string>;

function siteLinear(input: Tensor, site: LinearSite, { architecture, block, weights, hooks }: BlockContext): Tensor {
  const path = `blocks.${block}.${sitePaths[site]}`;
  const x = hooks ? hooks.linearInput(input, site, block) : input;
  const bias = site === 'qkv' && !architecture.qkvBias ? null : weights(`${path}.bias`);
  const y = linear(x, weights(`${path}.weight`), bias);
  return hooks ? hooks.linearOutput(y, x, site, block) : y;
}

function rows(x: Tensor, start: number, count: number): Tensor {
  return tf.slice(x as tf.Tensor2D, [start, 0], [count, x.shape[1]!]);
}
