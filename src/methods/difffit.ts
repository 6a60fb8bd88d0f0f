/**
 * DiffFit: biases and LayerNorms train, and a learned factor scales what each sub-layer adds. Xie et al., arXiv 2304.06648.
 *
 *   h <- h + gamma_1 * Attention(LayerNorm(h));   h <- h + gamma_2 * MLP(LayerNorm(h)),   gamma in R^D from 1 on
 *
 * The study and the paper agree on a ViT; the factors act behind LayerScale and drop path. (11 + m) D L + 3 D parameters.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { defineMethod, type Branch, type FoldInput } from '../peft/method';
import { linearPath } from '../vit/architecture';
import { scaleRows } from '../peft/scaling';

export default defineMethod({
  title: 'DiffFit',
  summary: 'Biases, LayerNorms and a factor for each sub-layer train.',
  paper: { title: 'DiffFit: Unlocking Transferability of Large Diffusion Models via Simple Parameter-Efficient Fine-Tuning', url: 'https://arxiv.org/abs/2304.06648' },
  version: 1,
  options: z.strictObject({}),
  page: {
    kind: 'selection',
    equations: ['h <- h + gamma_1 * Attention(LayerNorm(h))', 'h <- h + gamma_2 * MLP(LayerNorm(h))', 'with every bias and every LayerNorm trained'],
    parameters: {
      formula: 'L (11 D + m D) + 3 D',
      count: ({ depth, width, hidden, patchBias, qkvBias, preNorm }) =>
        depth * ((qkvBias ? 11 : 8) * width + hidden) + (2 + Number(patchBias) + 2 * Number(preNorm)) * width,
    },
    findings: 'In the study among the best on natural images (83.7), and like BitFit behind the adapters on structured tasks.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /\.bias$|(^|\.)norm(_pre|1|2)?\.weight$/, train: true }, { pattern: /^/, train: false }],
  tensors: ({ depth, width }) => Array.from({ length: depth }, (_, block) => branches.map(branch => ({
    name: gammaName(block, branch), shape: [width], initial: { kind: 'constant', value: 1 } as const, neutral: 1,
  }))).flat(),
  identityAtStart: () => true,
  act: {
    branchOutput: (y, _, branch, { block, tensor }) => tf.mul(y, tensor(gammaName(block, branch))),
  },
  fold,
  interpolation: { kind: 'parameters' },
});

const branches = ['attention', 'mlp'] as const satisfies readonly Branch[];

function gammaName(block: number, branch: Branch): string {
  return `blocks.${block}.difffit_gamma${branch === 'attention' ? 1 : 2}`;
}

/** W' = diag(gamma) W, b' = gamma * b of the last layer of each sub-layer; LayerScale is diagonal too, so that their order is without effect. */
function fold({ architecture, base, trained }: FoldInput): Record<string, Float32Array> {
  return Object.fromEntries(blocks(architecture).flatMap(block => branches.flatMap(branch => {
    const path = linearPath(branch === 'attention' ? 'proj' : 'fc2', block);
    return ['weight', 'bias'].map(kind => [`${path}.${kind}`, scaleRows(base(`${path}.${kind}`), trained(gammaName(block, branch)))] as const);
  })));
}

function blocks({ depth }: Architecture): number[] {
  return Array.from({ length: depth }, (_, block) => block);
}
