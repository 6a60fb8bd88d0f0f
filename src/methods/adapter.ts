/**
 * Bottleneck adapters in any form: where they stand, what they read, how they start; src/peft/adapters.ts has the equations.
 *
 * The forms with names are methods of their own: Pfeiffer's, Houlsby's, AdaptFormer. Of the forms that the study's code
 * holds beside those, "adapter, random start" is {initializer: "xavier-both"}, and "adapter, zero start" is
 * {initializer: "half-zero"}: what its code declares under that name sets W_down and b_up to zero, and leaves W_up and
 * b_down at PyTorch's start (study.md 1.2). Parameters: L k (2 D r + r + D), k the number of branches, + L k with learned scales.
 */
import { z } from 'zod';
import { adapterInitializers, bottleneckAdapter, countAdapters } from '../peft/adapters';
import { defineMethod } from '../peft/method';

const options = z.strictObject({
  branches: z.array(z.enum(['attention', 'mlp'])).min(1).default(['mlp']).describe('Which sub-layers have an adapter.'),
  position: z.enum(['parallel', 'before', 'after']).default('after')
    .describe('parallel: beside the sub-layer; before, after: in sequence, with a skip connection around the adapter.'),
  input: z.enum(['residual', 'normalized']).default('residual').describe('What a parallel adapter reads: the stream before the LayerNorm, or after it.'),
  bottleneck: z.int().positive().default(8).describe('Width of the bottleneck.').meta({ search: [4, 8, 16, 32] }),
  scale: z.number().default(1).describe('Factor of the adapter\'s own term.').meta({ search: [0.01, 0.1, 1, 10] }),
  learnableScale: z.boolean().default(false).describe('The factor trains, from `scale` on.'),
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout inside the bottleneck.'),
  activation: z.enum(['relu', 'gelu']).default('relu').describe('Inside the bottleneck.'),
  initializer: z.enum(adapterInitializers).default('xavier').describe('First values of W_down, W_up. ' +
    'reset: N(0, 0.02^2) both, what the study really ran; kaiming, xavier: random, zero; xavier-both: random both; ' +
    'near-zero: N(0, 0.01^2) both; half-zero: zero, random.'),
  dropPath: z.enum(['once', 'twice']).default('once')
    .describe('twice: the adapter passes LayerScale and a drop path of its own, as in the study; without effect on position "before".'),
});

export default defineMethod({
  title: 'Adapter',
  summary: 'Bottlenecks in any place: parallel, before or after attention or MLP.',
  paper: { title: 'Towards a Unified View of Parameter-Efficient Transfer Learning', url: 'https://arxiv.org/abs/2110.04366' },
  version: 1,
  options,
  page: {
    kind: 'adapter',
    equations: ['parallel: h <- h + DP(LS(F(LayerNorm(h)))) + D(x), x = h or LayerNorm(h)', 'before: h <- h + DP(LS(F(x + D(x)))), x = LayerNorm(h)', 'after: h <- h + DP(LS(y + D(y))), y = F(LayerNorm(h))', 'D(x) = s (W_up Dropout(f(W_down x + b_down)) + b_up)'],
    parameters: { formula: 'L k (2 D r + r + D), k the number of branches', count: countAdapters },
    findings: 'The study has three forms of it under their own names; Houlsby\'s is the best of them on VTAB-1K.',
    checkedAgainst: ['PyTorch'],
  },
  ...bottleneckAdapter((form: z.output<typeof options>) => form),
});
