/**
 * LoRA: low-rank updates of linear layers. Hu et al., arXiv 2106.09685.
 *
 *   y = W x + b + s * B A Dropout(x),   A [r, in], B [out, r]
 *
 * study: on the fused qkv layer, with one A shared by all targets and one B [t D, r], s = 1; both start at N(0, 0.02^2),
 * because the study's constructor resets every linear layer after the method's own initialiser (study.md 0.10, 1.3). 4 D r L
 * parameters. On other layers, which the study does not adapt, A and B start there too.
 * original: A and B of their own for each target, A ~ U(+-1 / sqrt(in)) (PyTorch's Kaiming with a = sqrt(5)), B = 0.
 *
 * s = alpha / r, or alpha / sqrt(r) (rsLoRA, Kalajdzievski, arXiv 2312.03732). Fold: W' = W + s B A.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { refusesBlocks } from '../peft/blocks';
import { addLowRank, adaptedLayers, countLowRank, lowRankOptions, lowRankTensors, lowRankUpdate, type LowRankForm } from '../peft/low-rank';
import { defineMethod } from '../peft/method';
import { linearPath } from '../vit/architecture';

const options = z.strictObject({
  ...lowRankOptions,
  sharing: z.enum(['fused', 'separate']).nullable().default(null)
    .describe('Whether targets among q, k and v share one A; null: fused in the study\'s variant, separate in the original.'),
  variant: z.enum(['study', 'original']).default('study')
    .describe('study: one A for q, k and v, both factors random at the start; original: as in the paper, B = 0.'),
});

export default defineMethod({
  title: 'LoRA',
  summary: 'Low-rank updates of linear layers; of the query, key and value projections unless told otherwise.',
  suggested: true,
  paper: { title: 'LoRA: Low-Rank Adaptation of Large Language Models', url: 'https://arxiv.org/abs/2106.09685' },
  version: 1,
  options,
  page: {
    kind: 'low rank',
    equations: ['y = W x + b + s B A Dropout(x)', 's = alpha / r, alpha / sqrt(r) (rank-stabilised), or 1 without an alpha'],
    parameters: { formula: '4 D r L for q, k, v with one A', count: (architecture, options) => countLowRank(architecture, formOf(options)) },
    findings: 'Among the best of the study\'s CLIP experiment (76.56 % on ImageNet with 1.18 M parameters); in the middle on VTAB-1K, better with small ranks there.',
    checkedAgainst: ['the study\'s code', 'PyTorch', 'Hugging Face PEFT'],
    huggingFace: 'LORA',
  },
  trains: [{ pattern: /^/, train: false }],
  refuses: refusesBlocks,
  tensors: (architecture, options) => lowRankTensors(architecture, formOf(options), inputs => options.variant === 'study'
    ? { a: { kind: 'normal', std: 0.02 }, b: { kind: 'normal', std: 0.02 } }
    : { a: { kind: 'uniform', limit: 1 / Math.sqrt(inputs) }, b: { kind: 'constant', value: 0 } }),
  identityAtStart: ({ variant }) => variant === 'original' || 'the study starts both factors at N(0, 0.02^2)',
  act: {
    linearOutput(y, x, site, context) {
      const update = lowRankUpdate(x, site, formOf(context.options), context);
      return update ? tf.add(y, update) : y;
    },
  },
  fold(input, options) {
    const form = formOf(options);
    return Object.fromEntries(adaptedLayers(input.architecture, form).map(({ site, block }) => {
      const name = `${linearPath(site, block)}.weight`;
      const weight = Float32Array.from(input.base(name));
      addLowRank(weight, site, block, form, input);
      return [name, weight];
    }));
  },
  interpolation: { kind: 'weights' },
});

function formOf({ sharing, variant, ...form }: z.output<typeof options>): LowRankForm {
  return { ...form, name: 'lora', sharing: sharing ?? (variant === 'study' ? 'fused' : 'separate') };
}
