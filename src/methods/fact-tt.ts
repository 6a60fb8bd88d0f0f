/**
 * FacT-TT: the updates of all linear layers as a tensor train. Jie and Deng, FacT, arXiv 2212.03145.
 *
 *   dW = s * V S U,   U [r, D] and V [D, r] shared by all layers, S [r, r] for each D x D matrix of each block
 *
 * Cores: S_q, S_k, S_v, S_o [r, r]; those of fc1 stand over each other [m r, r], those of fc2 side by side [r, m r].
 * 2 D r + (4 + 2 m) L r^2 parameters, with m = 4: 2 D r + 12 L r^2.
 * study: U, V and all cores start at N(0, 0.02^2) (study.md 0.10). original: V = 0, the others as PyTorch's linear layers.
 * Fold: W' = W + s V S U, matrix by matrix.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { defineMethod, type Initializer, type TensorDeclaration } from '../peft/method';
import {
  blockSites, foldSharedFactors, refusesSharedFactors, reset, sharedFactorHooks, sharedFactorOptions, sharedFactors, sharedFactorTensors, squareCount, type BlockSite,
} from '../peft/shared-factors';

const options = z.strictObject({
  rank: z.int().positive().default(8).describe('Side of the cores.').meta({ search: [8, 16, 32] }),
  scale: z.number().default(1).describe('Factor of the updates.').meta({ search: [0.01, 0.1, 1, 10, 100] }),
  ...sharedFactorOptions,
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'FacT-TT',
  summary: 'Updates of all linear layers as one tensor train, whose outer factors all blocks share.',
  paper: { title: 'FacT: Factor-Tuning for Lightweight Adaptation on Vision Transformer', url: 'https://arxiv.org/abs/2212.03145' },
  version: 1,
  options,
  page: {
    kind: 'low rank',
    equations: ['y = (W + s V S U) x + b, U and V shared by all layers, S of each D x D matrix its own', 'dropout between S and V'],
    parameters: {
      formula: '2 D r + (4 + 2 m) L r^2',
      count: ({ width, hidden, depth }, { rank }) => 2 * width * rank + (4 + 2 * hidden / width) * depth * rank ** 2,
    },
    findings: 'With a fifth of the parameters level with LoRA and the adapters of the study on VTAB-1K (77.0); among the best on natural images (83.7).',
    checkedAgainst: ['PyTorch'],
  },
  refuses: refusesSharedFactors,
  trains: [{ pattern: /^/, train: false }],
  tensors: declare,
  identityAtStart: ({ variant }) => variant === 'original' || 'the study starts all factors at N(0, 0.02^2)',
  act: sharedFactorHooks<Options>((site, { block, tensor }) => {
    const cores = coreNames(site, block).map(tensor);
    return cores.length > 1 ? tf.concat(cores, 0) : cores[0]!;
  }),
  fold: (input, options) => foldSharedFactors(input, options, (site, block) =>
    Float32Array.from(coreNames(site, block).flatMap(name => [...input.trained(name)]))),
  interpolation: { kind: 'weights' },
});

function declare(architecture: Architecture, options: Options): TensorDeclaration[] {
  const { rank, variant } = options;
  const cores = Array.from({ length: architecture.depth }, (_, block) => blockSites.flatMap(site => coreNames(site, block).map((name): TensorDeclaration => {
    const count = site === 'qkv' ? 1 : squareCount(site, architecture);
    const shape = site === 'fc2' ? [rank, count * rank] : [count * rank, rank];
    const linearStart: Initializer = { kind: 'uniform', limit: 1 / Math.sqrt(shape[1]!) };
    return { name, shape, initial: variant === 'study' ? reset : linearStart };
  })));
  return [...sharedFactorTensors(architecture, options), ...cores.flat()];
}

/** q, k and v have a core each. */
function coreNames(site: BlockSite, block: number): string[] {
  const own = { qkv: ['attn.0', 'attn.1', 'attn.2'], proj: ['attn.3'], fc1: ['mlp.0'], fc2: ['mlp.1'] }[site];
  return own.map(core => `${sharedFactors.path}.per_block_para.${block}.${core}.weight`);
}
