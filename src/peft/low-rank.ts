/**
 * Low-rank updates of linear layers, which several methods build on: for a layer's weight W [out, in],
 *
 *   dW = s * B A,   A [r, in], B [out, r];   s = alpha / r, alpha / sqrt(r) (rank-stabilised, arXiv 2312.03732), or 1 without an alpha
 *
 * Layers are the thirds of qkv, proj, fc1, fc2 of any blocks, and the patch embedding, whose kernel counts as [D, 3 p^2].
 * Thirds of qkv share one A, each with its rows of one B (fused), or have factors of their own (separate).
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { tf } from '../engine/tfjs';
import { linearPath, weightShape } from '../vit/architecture';
import { linear } from '../vit/operations';
import { type BlockChoice, blocksOption, chosenBlocks, isChosen } from './blocks';
import { addProduct } from './matrices';
import type { FoldInput, HookContext, Initializer, LinearSite, TensorDeclaration } from './method';

const projections = ['q', 'k', 'v'] as const;
type Projection = typeof projections[number];
export const lowRankTargets = [...projections, 'proj', 'fc1', 'fc2', 'patch_embed'] as const;
type Target = typeof lowRankTargets[number];

/** What such methods have in common; `sharing` is theirs to add. */
export const lowRankOptions = {
  rank: z.int().positive().default(8).describe('Rank of the update.').meta({ search: [1, 8, 16, 32] }),
  alpha: z.number().positive().nullable().default(null).describe('The update is scaled by alpha / rank; null scales by 1, as the study does.'),
  rankStabilized: z.boolean().default(false).describe('Scale by alpha / sqrt(rank) instead (rsLoRA).'),
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout on the input of the update.'),
  targets: z.array(z.enum(lowRankTargets)).min(1).default([...projections]).describe('Which linear layers are adapted.'),
  blocks: blocksOption('Indices of the blocks that are adapted'),
};

export interface LowRankForm extends BlockChoice {
  /** Part of every tensor's name. */
  name: string;
  rank: number;
  alpha: number | null;
  rankStabilized: boolean;
  dropout: number;
  targets: readonly Target[];
  sharing: 'fused' | 'separate';
}

/** One pair of factors and the part of a layer's output that it adds to. */
interface Pair {
  a: string;
  b: string;
  /** Thirds of qkv, in the order of B's rows; null for a whole layer. */
  thirds: Projection[] | null;
}

/** Every adapted layer: [block, site], the patch embedding (block -1) first. */
export function adaptedLayers(architecture: Pick<Architecture, 'depth'>, form: LowRankForm): { site: LinearSite; block: number }[] {
  const sites = (['qkv', 'proj', 'fc1', 'fc2'] as const).filter(site => isTarget(site, form));
  return [
    ...isTarget('patch_embed', form) ? [{ site: 'patch_embed' as const, block: -1 }] : [],
    ...chosenBlocks(architecture, form).flatMap(block => sites.map(site => ({ site, block }))),
  ];
}

export function lowRankTensors(architecture: Architecture, form: LowRankForm, initial: (inputs: number) => { a: Initializer; b: Initializer }): TensorDeclaration[] {
  return adaptedLayers(architecture, form).flatMap(({ site, block }) => pairs(site, block, form).flatMap(({ a, b, thirds }): TensorDeclaration[] => {
    const [outputs, inputs] = weightShape(site, architecture);
    const rows = thirds ? thirds.length * architecture.width : outputs, first = initial(inputs);
    return [
      { name: a, shape: [form.rank, inputs], initial: first.a },
      { name: b, shape: [rows, form.rank], initial: first.b, neutral: 0 },
    ];
  }));
}

/** s B A Dropout(x): [rows, in] -> [rows, out], zero for thirds that are no target; null where the layer is not adapted. */
export function lowRankUpdate(x: Tensor, site: LinearSite, form: LowRankForm, context: LayerContext): Tensor | null {
  const { block, tensor } = context;
  if (!isAdapted(site, context, form)) return null;
  const dropped = context.dropout(x, form.dropout, `${dropoutSite(site)}.${form.name}`);
  const deltas = pairs(site, block, form).map(({ a, b, thirds }) => ({ thirds, delta: linear(linear(dropped, tensor(a)), tensor(b)) }));
  const whole = site === 'qkv' ? thirdsTogether(deltas, x) : deltas[0]!.delta;
  const scale = scaleOf(form);
  return scale === 1 ? whole : tf.mul(whole, scale);
}

/** s B A as a matrix [out, in] in tensors, zero for thirds that are no target. */
export function lowRankMatrix(site: LinearSite, form: LowRankForm, { architecture, block, tensor }: Pick<LayerContext, 'architecture' | 'block' | 'tensor'>): Tensor {
  const [, inputs] = weightShape(site, architecture);
  const products = pairs(site, block, form).map(({ a, b, thirds }) => ({ thirds, product: tf.matMul(tensor(b) as tf.Tensor2D, tensor(a) as tf.Tensor2D) }));
  const parts = site === 'qkv' ? projections.map(third => {
    const found = products.find(({ thirds }) => thirds!.includes(third));
    if (!found) return tf.zeros([architecture.width, inputs]);
    const { thirds, product } = found;
    return thirds!.length === 1 ? product : tf.slice(product, [thirds!.indexOf(third) * architecture.width, 0], [architecture.width, inputs]);
  }) : [products[0]!.product];
  const whole = products.length === 1 && parts.length === products[0]!.thirds?.length ? products[0]!.product : tf.concat(parts, 0);
  return tf.mul(whole, scaleOf(form));
}

/** On the host: weight [out, in] of the layer += s B A. */
export function addLowRank(weight: Float32Array, site: LinearSite, block: number, form: LowRankForm, { architecture, trained }: Pick<FoldInput, 'architecture' | 'trained'>): void {
  const { width } = architecture, { rank } = form, scale = scaleOf(form);
  const [outputs, inputs] = weightShape(site, architecture);
  for (const { a, b, thirds } of pairs(site, block, form)) {
    const [factorA, factorB] = [trained(a), trained(b)];
    if (!thirds) addProduct(weight, factorB, factorA, { rows: outputs, inner: rank, columns: inputs, scale });
    thirds?.forEach((third, index) => addProduct(
      weight.subarray(projections.indexOf(third) * width * inputs), factorB.subarray(index * width * rank), factorA, { rows: width, inner: rank, columns: inputs, scale }));
  }
}

/** Parameters of all pairs: r (in + rows of B) each. */
export function countLowRank(architecture: Architecture, form: LowRankForm): number {
  const { width, hidden, patch } = architecture, { rank, targets, sharing } = form;
  const thirds = projections.filter(p => targets.includes(p)).length;
  const qkv = thirds && rank * (sharing === 'fused' ? width + thirds * width : 2 * thirds * width);
  const has = (target: Target) => Number(targets.includes(target));
  const block = qkv + rank * (has('proj') * 2 * width + (has('fc1') + has('fc2')) * (width + hidden));
  return chosenBlocks(architecture, form).length * block + has('patch_embed') * rank * (3 * patch ** 2 + width);
}

/** Rows of a layer's output that are adapted, true for each. */
export function adaptedRows(site: LinearSite, architecture: Architecture, form: LowRankForm): boolean[] {
  const [outputs] = weightShape(site, architecture);
  return Array.from({ length: outputs }, (_, row) => site !== 'qkv' || form.targets.includes(projections[Math.floor(row / architecture.width)]!));
}

export function isAdapted(site: LinearSite, { block, architecture }: Pick<LayerContext, 'block' | 'architecture'>, form: LowRankForm): boolean {
  return isTarget(site, form) && (site === 'patch_embed' || isChosen(block, architecture, form));
}

type LayerContext = Pick<HookContext<unknown>, 'architecture' | 'block' | 'tensor' | 'dropout'>;

function isTarget(site: LinearSite, { targets }: LowRankForm): boolean {
  return site === 'qkv' ? projections.some(p => targets.includes(p)) : targets.includes(site);
}

function scaleOf({ alpha, rank, rankStabilized }: LowRankForm): number {
  return alpha === null ? 1 : alpha / (rankStabilized ? Math.sqrt(rank) : rank);
}

/** The study's names for its fused pair on qkv; others by their layer. */
function pairs(site: LinearSite, block: number, { name, targets, sharing }: LowRankForm): Pair[] {
  const path = site === 'qkv' ? `blocks.${block}.attn.${name}` : `${linearPath(site, block)}.${name}`;
  const pair = (suffix: string, thirds: Projection[] | null): Pair => ({ a: `${path}.lora_a${suffix}.weight`, b: `${path}.lora_b${suffix}.weight`, thirds });
  if (site !== 'qkv') return [pair('', null)];
  const thirds = projections.filter(p => targets.includes(p));
  return sharing === 'fused' ? [pair('', thirds)] : thirds.map(third => pair(`_${third}`, [third]));
}

function dropoutSite(site: LinearSite): string {
  return site === 'qkv' ? 'attn' : site;
}

/** Cuts and fills up only where a third is left out or has a pair of its own, so that the common case stays one product. */
function thirdsTogether(deltas: readonly { thirds: Projection[] | null; delta: Tensor }[], x: Tensor): Tensor {
  const [first] = deltas;
  if (first!.thirds!.length === 3) return first!.delta;
  const parts = new Map(deltas.flatMap(({ thirds, delta }) => {
    const cut = thirds!.length === 1 ? [delta] : tf.split(delta, thirds!.length, 1);
    return thirds!.map((third, index) => [third, cut[index]!] as const);
  }));
  return tf.concat(projections.map(third => parts.get(third) ?? tf.zerosLike(x)), 1);
}
