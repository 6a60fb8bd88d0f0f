/**
 * FacT-TK: the updates of all linear layers as a Tucker decomposition. Jie and Deng, FacT, arXiv 2212.03145.
 *
 *   dW = s * V S^T U,   S_j = sum over c of C[:, :, c] P[c, j];   U [r, D], V [D, r], C [r, r, r] shared by all layers
 *
 * Column j of P [r, (4 + 2 m) L] belongs to one D x D matrix: of each block q, k, v, o, m for fc1, m for fc2. The cores of fc1
 * and of fc2 are laid out as their authors' code does, which mixes the matrices of a layer: [r, r, m] read row by row as
 * M [r, m r]. fc1 multiplies by M (weight M^T), fc2 by M^T (weight M).
 * 2 D r + (4 + 2 m) L r + r^3 parameters, with m = 4: 2 D r + 12 L r + r^3.
 * study: U and V start at N(0, 0.02^2) (study.md 0.10). original: U as PyTorch's linear layers, V = 0. In both, P and C start
 * at Xavier's uniform.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { product } from '../peft/matrices';
import { defineMethod, type FoldInput, type HookContext } from '../peft/method';
import {
  foldSharedFactors, refusesSharedFactors, sharedFactorHooks, sharedFactorOptions, sharedFactors, sharedFactorTensors, squareCount, type BlockSite,
} from '../peft/shared-factors';

const options = z.strictObject({
  rank: z.int().positive().default(16).describe('Side of the core.').meta({ search: [16, 32, 64] }),
  scale: z.number().default(1).describe('Factor of the updates.').meta({ search: [0.01, 0.1, 1, 10, 100] }),
  ...sharedFactorOptions,
});
type Options = z.output<typeof options>;

const names = { core: `${sharedFactors.path}.FacTc`, mixing: `${sharedFactors.path}.FacTp` };

export default defineMethod({
  title: 'FacT-TK',
  summary: 'Updates of all linear layers as one Tucker decomposition, shared by all blocks.',
  paper: { title: 'FacT: Factor-Tuning for Lightweight Adaptation on Vision Transformer', url: 'https://arxiv.org/abs/2212.03145' },
  version: 1,
  options,
  page: {
    kind: 'low rank',
    equations: ['y = (W + s V S^T U) x + b, S = C P_j; U, V and C shared by all layers, a column P_j for each D x D matrix', 'dropout between S and V'],
    parameters: {
      formula: '2 D r + (4 + 2 m) L r + r^3',
      count: (architecture, { rank }) => 2 * architecture.width * rank + matrices(architecture) * architecture.depth * rank + rank ** 3,
    },
    findings: 'The best of the study on natural images (83.9); behind the others on SmallNORB. Few parameters even with a large rank.',
    checkedAgainst: ['PyTorch'],
  },
  refuses: refusesSharedFactors,
  trains: [{ pattern: /^/, train: false }],
  tensors: (architecture, options) => {
    const { rank } = options, columns = matrices(architecture) * architecture.depth;
    return [
      ...sharedFactorTensors(architecture, options),
      { name: names.mixing, shape: [rank, columns], initial: { kind: 'uniform', limit: Math.sqrt(6 / (rank + columns)) } },
      { name: names.core, shape: [rank, rank, rank], initial: { kind: 'uniform', limit: Math.sqrt(3) / rank } },
    ];
  },
  identityAtStart: ({ variant }) => variant === 'original' || 'the study starts U and V at N(0, 0.02^2)',
  act: sharedFactorHooks<Options>(coreOf),
  fold: (input, options) => foldSharedFactors(input, options, (site, block) => hostCoreOf(site, block, input, options)),
  interpolation: { kind: 'weights' },
});

/** D x D matrices of a block. */
function matrices(architecture: Architecture): number {
  return 4 + 2 * squareCount('fc1', architecture);
}

/** First column of P that belongs to the layer, and how many do. */
function columnsOf(site: BlockSite, block: number, architecture: Architecture): { first: number; count: number } {
  const count = squareCount(site, architecture);
  const within = { qkv: 0, proj: 3, fc1: 4, fc2: 4 + count }[site];
  return { first: block * matrices(architecture) + within, count };
}

/** The layer's cores as a linear weight, see sharedFactorHooks. */
function coreOf(site: BlockSite, { options: { rank }, architecture, block, tensor }: HookContext<Options>): Tensor {
  const { first, count } = columnsOf(site, block, architecture);
  const mixing = tf.slice(tensor(names.mixing), [0, first], [rank, count]);
  const cores = tf.matMul(tf.reshape(tensor(names.core), [rank * rank, rank]) as tf.Tensor2D, mixing as tf.Tensor2D); // [r r, count]
  switch (site) {
    case 'qkv': case 'proj': return tf.reshape(tf.transpose(tf.reshape(cores, [rank, rank, count]), [2, 1, 0]), [count * rank, rank]);
    case 'fc1': return tf.transpose(tf.reshape(cores, [rank, rank * count]));
    case 'fc2': return tf.reshape(cores, [rank, rank * count]);
    default: return site satisfies never;
  }
}

/** The same on the host. */
function hostCoreOf(site: BlockSite, block: number, { architecture, trained }: FoldInput, { rank }: Options): Float32Array {
  const { first, count } = columnsOf(site, block, architecture);
  const all = trained(names.mixing), stride = all.length / rank;
  const mixing = Float32Array.from({ length: rank * count }, (_, i) => all[Math.floor(i / count) * stride + first + i % count]!);
  const cores = product(trained(names.core), mixing, { rows: rank * rank, inner: rank, columns: count });
  switch (site) {
    // [a, b, j] -> [j, b, a]
    case 'qkv': case 'proj': return Float32Array.from({ length: cores.length }, (_, i) =>
      cores[(i % rank * rank + Math.floor(i / rank) % rank) * count + Math.floor(i / rank ** 2)]!);
    // [a, b j] -> [b j, a]
    case 'fc1': return Float32Array.from({ length: cores.length }, (_, i) => cores[i % rank * rank * count + Math.floor(i / rank)]!);
    case 'fc2': return cores;
    default: return site satisfies never;
  }
}
