/**
 * Pfeiffer's adapter: one bottleneck a block, behind the MLP. Pfeiffer et al., AdapterFusion, arXiv 2005.00247.
 *
 *   M = DP(LS(MLP(LayerNorm(h))));  h' = h + DP'(LS(M + D(M))),  D(x) = s * (W_up Dropout(ReLU(W_down x + b_down)) + b_up)
 *
 * study: as above, with LayerScale and drop path twice; weights start at N(0, 0.02^2) (study.md 0.10). L (2 D r + r + D) parameters.
 * original: the adapter sits inside the sub-layer, so that both act once; Xavier and zeros at the start, no dropout unless asked for.
 */
import { z } from 'zod';
import { bottleneckAdapter, countAdapters, type AdapterForm } from '../peft/adapters';
import { defineMethod } from '../peft/method';

const options = z.strictObject({
  bottleneck: z.int().positive().default(8).describe('Width of the bottleneck.').meta({ search: [4, 8, 16, 32, 64] }),
  scale: z.number().default(1).describe('Factor of the adapter\'s own term.').meta({ search: [0.01, 0.1, 1, 10] }),
  learnableScale: z.boolean().default(false).describe('The factor trains, from `scale` on.'),
  dropout: z.number().min(0).lt(1).nullable().default(null).describe('Dropout inside the bottleneck; null: 0.1 in the study\'s variant, 0 in the original.'),
  variant: z.enum(['study', 'original']).default('study')
    .describe('study: drop path twice, random start; original: drop path once, the identity at the start.'),
});

export default defineMethod({
  title: 'Pfeiffer adapter',
  summary: 'A bottleneck behind the MLP of every block.',
  paper: { title: 'AdapterFusion: Non-Destructive Task Composition for Transfer Learning', url: 'https://arxiv.org/abs/2005.00247' },
  version: 1,
  options,
  page: {
    kind: 'adapter',
    equations: ['M = DP(LS(MLP(LayerNorm(h))))', 'h <- h + DP\'(LS(M + D(M)))', 'D(x) = s (W_up Dropout(f(W_down x + b_down)) + b_up), f = ReLU'],
    parameters: { formula: 'L (2 D r + r + D)', count: (architecture, options) => countAdapters(architecture, formOf(options)) },
    findings: 'Among the best of the study on structured tasks (61.8, mean of VTAB-1K 77.1); level with the others on natural and specialized ones.',
    checkedAgainst: ['PyTorch'],
  },
  ...bottleneckAdapter(formOf),
});

function formOf({ bottleneck, scale, learnableScale, dropout, variant }: z.output<typeof options>): AdapterForm {
  const isStudy = variant === 'study';
  return {
    branches: ['mlp'], position: 'after', input: 'residual', activation: 'relu', bottleneck, scale, learnableScale,
    dropout: dropout ?? (isStudy ? 0.1 : 0), initializer: isStudy ? 'reset' : 'xavier', dropPath: isStudy ? 'twice' : 'once',
  };
}
