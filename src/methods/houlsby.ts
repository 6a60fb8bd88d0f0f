/**
 * Houlsby's adapters: two bottlenecks a block, behind the attention and behind the MLP. Houlsby et al., arXiv 1902.00751.
 *
 *   A = DP(LS(MSA(LayerNorm(h))));  h' = h + DP'(LS(A + D(A))), the MLP likewise
 *   D(x) = s * (W_up Dropout(f(W_down x + b_down)) + b_up)
 *
 * study: as above, f = ReLU, LayerScale and drop path twice; weights start at N(0, 0.02^2) (study.md 0.10). 2 L (2 D r + r + D) parameters.
 * original: the adapters sit inside the sub-layers, so that both act once; f = GELU, weights ~ N(0, 0.01^2) cut off at two
 * deviations ("near-identity"), no dropout unless asked for.
 */
import { z } from 'zod';
import { bottleneckAdapter, countAdapters, type AdapterForm } from '../peft/adapters';
import { defineMethod } from '../peft/method';

const options = z.strictObject({
  bottleneck: z.int().positive().default(8).describe('Width of the bottlenecks.').meta({ search: [4, 8, 16, 32] }),
  scale: z.number().default(0.1).describe('Factor of the adapters\' own terms.').meta({ search: [0.01, 0.1, 1, 10] }),
  learnableScale: z.boolean().default(false).describe('The factors train, from `scale` on.'),
  dropout: z.number().min(0).lt(1).nullable().default(null).describe('Dropout inside the bottlenecks; null: 0.1 in the study\'s variant, 0 in the original.'),
  variant: z.enum(['study', 'original']).default('study')
    .describe('study: drop path twice, ReLU, random start; original: drop path once, GELU, near the identity at the start.'),
});

export default defineMethod({
  title: 'Houlsby adapters',
  summary: 'Bottlenecks behind the attention and the MLP of every block.',
  paper: { title: 'Parameter-Efficient Transfer Learning for NLP', url: 'https://arxiv.org/abs/1902.00751' },
  version: 1,
  options,
  page: {
    kind: 'adapter',
    equations: ['A = DP(LS(MSA(LayerNorm(h))))', 'h <- h + DP\'(LS(A + D(A))), and likewise behind the MLP', 'D(x) = s (W_up Dropout(f(W_down x + b_down)) + b_up)'],
    parameters: { formula: '2 L (2 D r + r + D)', count: (architecture, options) => countAdapters(architecture, formOf(options)) },
    findings: 'Second of the study on average over VTAB-1K (77.3), first on specialized images (86.4).',
    checkedAgainst: ['PyTorch'],
  },
  ...bottleneckAdapter(formOf),
});

function formOf({ bottleneck, scale, learnableScale, dropout, variant }: z.output<typeof options>): AdapterForm {
  const isStudy = variant === 'study';
  return {
    branches: ['attention', 'mlp'], position: 'after', input: 'residual', bottleneck, scale, learnableScale,
    activation: isStudy ? 'relu' : 'gelu', dropout: dropout ?? (isStudy ? 0.1 : 0),
    initializer: isStudy ? 'reset' : 'near-zero', dropPath: isStudy ? 'twice' : 'once',
  };
}
