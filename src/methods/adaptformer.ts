/**
 * AdaptFormer: a bottleneck in parallel to the MLP. Chen et al., arXiv 2205.13535.
 *
 *   h' = h + MLP(LayerNorm(h)) + s * (W_up Dropout(ReLU(W_down h + b_down)) + b_up)
 *
 * h is the residual stream before the MLP, not normalised, in both variants. L (2 D r + r + D) parameters.
 * study: the branch passes LayerScale and a drop path of its own; weights start at N(0, 0.02^2), biases at 0 (study.md 0.10).
 * original: neither, W_down ~ U(+-1 / sqrt(D)), the rest 0.
 */
import { z } from 'zod';
import { bottleneckAdapter, countAdapters, type AdapterForm } from '../peft/adapters';
import { defineMethod } from '../peft/method';

const options = z.strictObject({
  bottleneck: z.int().positive().default(64).describe('Width of the bottleneck.').meta({ search: [4, 16, 32] }),
  scale: z.number().default(0.1).describe('Factor of the branch.').meta({ search: [0.05, 0.1, 0.2] }),
  learnableScale: z.boolean().default(false).describe('The factor trains, from `scale` on.'),
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout inside the bottleneck.'),
  variant: z.enum(['study', 'original']).default('study')
    .describe('study: branch with drop path, random start; original: without drop path, zero at the start.'),
});

export default defineMethod({
  title: 'AdaptFormer',
  summary: 'A bottleneck in parallel to the MLP of every block.',
  suggested: true,
  paper: { title: 'AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition', url: 'https://arxiv.org/abs/2205.13535' },
  version: 1,
  options,
  page: {
    kind: 'adapter',
    equations: ['h <- h + DP(LS(MLP(LayerNorm(h)))) + DP\'(LS(D(h)))', 'D(x) = s (W_up Dropout(f(W_down x + b_down)) + b_up), f = ReLU'],
    parameters: { formula: 'L (2 D r + r + D)', count: (architecture, options) => countAdapters(architecture, formOf(options)) },
    findings: 'Good throughout in the study (mean of VTAB-1K 77.1): third on specialized images, among the best of the CLIP experiment on both axes.',
    checkedAgainst: ['the study\'s code', 'PyTorch'],
  },
  ...bottleneckAdapter(formOf),
});

function formOf({ bottleneck, scale, learnableScale, dropout, variant }: z.output<typeof options>): AdapterForm {
  const isStudy = variant === 'study';
  return {
    branches: ['mlp'], position: 'parallel', input: 'residual', activation: 'relu', bottleneck, scale, learnableScale, dropout,
    initializer: isStudy ? 'reset' : 'kaiming', dropPath: isStudy ? 'twice' : 'once',
  };
}
