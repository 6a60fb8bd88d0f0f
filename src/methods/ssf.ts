/**
 * SSF: a learned scale and shift of every feature behind every LayerNorm and linear layer. Lian et al., arXiv 2210.08823.
 *
 *   y = scale * x + shift,   scale ~ N(1, 0.02^2), shift ~ N(0, 0.02^2)
 *
 * Behind the patch embedding; in each block behind norm1, qkv, the attention's projection, norm2, fc1 (before GELU) and
 * fc2; behind the final LayerNorm. CLIP's first LayerNorm has none. The study and the official code agree.
 * 2 (7 + m) D L + 4 D parameters. Everything folds into the layer before it.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { scaleAndShift, scaleRows } from '../peft/scaling';
import { defineMethod, type FoldInput, type LinearSite, type NormSite, type TensorDeclaration } from '../peft/method';
import { hasBias, linearPath, normPath } from '../vit/architecture';

type Site = LinearSite | Exclude<NormSite, 'norm_pre'>;

export default defineMethod({
  title: 'SSF',
  summary: 'A scale and a shift behind every LayerNorm and linear layer.',
  paper: { title: 'Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning', url: 'https://arxiv.org/abs/2210.08823' },
  version: 1,
  options: z.strictObject({}),
  page: {
    kind: 'scaling',
    equations: ['y = scale * x + shift behind the patch embedding, every LayerNorm and every linear layer'],
    parameters: { formula: '2 L (7 D + m D) + 4 D', count: ({ depth, width, hidden }) => 2 * depth * (7 * width + hidden) + 4 * width },
    findings: 'In the study good everywhere for its size (76.2 on average with 0.2 M), the best of the methods that only select or scale.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: declare,
  identityAtStart: () => 'scale and shift start at random: N(1, 0.02^2) and N(0, 0.02^2)',
  act: {
    linearOutput: (y, _, site, { block, tensor }) => modulate(y, site, block, tensor),
    normOutput: (y, site, { block, tensor }) => (site === 'norm_pre' ? y : modulate(y, site, block, tensor)),
  },
  fold,
  interpolation: { kind: 'weights' },
});

function modulate(x: Tensor, site: Site, block: number, tensor: (name: string) => Tensor): Tensor {
  const { scale, shift } = tensorNames(site, block);
  return tf.add(tf.mul(x, tensor(scale)), tensor(shift));
}

function declare(architecture: Architecture): TensorDeclaration[] {
  return everywhere(architecture).flatMap(({ site, block }): TensorDeclaration[] => {
    const shape = [features(site, architecture)];
    const { scale, shift } = tensorNames(site, block);
    return [
      { name: scale, shape, initial: { kind: 'normal', std: 0.02, mean: 1 }, neutral: 1 },
      { name: shift, shape, initial: { kind: 'normal', std: 0.02 }, neutral: 0 },
    ];
  });
}

/** Linear: W' = diag(scale) W, b' = scale * b + shift; LayerNorm: likewise its weight and bias. */
function fold({ architecture, base, trained }: FoldInput): Record<string, Float32Array> | string {
  if (!architecture.qkvBias) return 'the backbone\'s qkv layers have no bias to take the shift';
  const folded: Record<string, Float32Array> = {};
  for (const { site, block } of everywhere(architecture)) {
    const names = tensorNames(site, block);
    const [scale, shift] = [trained(names.scale), trained(names.shift)];
    const path = isNorm(site) ? normPath(site, block) : linearPath(site, block);
    folded[`${path}.weight`] = scaleRows(base(`${path}.weight`), scale);
    if (isNorm(site) || hasBias(site, architecture)) folded[`${path}.bias`] = scaleAndShift(base(`${path}.bias`), scale, shift);
    else folded['pos_embed'] = shifted(base('pos_embed'), shift);
  }
  return folded;
}

/** CLIP's patch embedding has no bias: what it would add to each patch can be added to the patches' positions. */
function shifted(positions: Float32Array, shift: Float32Array): Float32Array {
  const width = shift.length;
  return positions.map((value, index) => (index < width ? value : value + shift[index % width]!));
}

const blockSites = ['norm1', 'qkv', 'proj', 'norm2', 'fc1', 'fc2'] as const satisfies readonly Site[];

function everywhere({ depth }: Architecture): { site: Site; block: number }[] {
  const inBlocks = Array.from({ length: depth }, (_, block) => blockSites.map(site => ({ site, block }))).flat();
  return [{ site: 'patch_embed', block: -1 }, ...inBlocks, { site: 'norm', block: depth }];
}

function isNorm(site: Site): site is Exclude<NormSite, 'norm_pre'> {
  return site === 'norm' || site === 'norm1' || site === 'norm2';
}

function features(site: Site, { width, hidden }: Architecture): number {
  return site === 'qkv' ? 3 * width : site === 'fc1' ? hidden : width;
}

/** As in the study's code. */
const names = {
  patch_embed: ['patch_embed.', '_1'], norm: ['', ''], norm1: ['', '_1'], norm2: ['', '_2'],
  qkv: ['attn.', '_qkv'], proj: ['attn.', '_linear'], fc1: ['mlp.', '_hidden'], fc2: ['mlp.', '_out'],
} as const satisfies Record<Site, readonly [string, string]>;

function tensorNames(site: Site, block: number): { scale: string; shift: string } {
  const [module, suffix] = names[site];
  const prefix = site === 'patch_embed' || site === 'norm' ? module : `blocks.${block}.${module}`;
  return { scale: `${prefix}ssf_scale${suffix}`, shift: `${prefix}ssf_shift${suffix}` };
}
