/**
 * VPT-Deep: learned tokens beside those of every block, taken off again behind it.
 * Jia et al., Visual Prompt Tuning, arXiv 2203.12119. Prompts ~ U(-v, v), v = sqrt(6 / (3 p^2 + D)).
 *
 *   [h, _] <- Block_i([h, P_i])
 *
 * study: dropout 0.1 on the prompts with one mask for the whole batch. original: no dropout unless asked for, a mask
 * for each image. The order of the tokens is without effect, since prompts carry no position.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { defineMethod } from '../peft/method';
import { promptDropout, promptRows, promptStart } from '../peft/prompts';

const options = z.strictObject({
  prompts: z.int().positive().default(10).describe('Prompt tokens in each block.').meta({ search: [5, 10, 50, 100] }),
  dropout: promptDropout,
  lastBlocks: z.int().positive().nullable().default(null).describe('Prompts in so many of the last blocks only; null: in all.'),
  variant: z.enum(['study', 'original']).default('study')
    .describe('study: one dropout mask for the batch; original: one for each image.'),
});
const promptTensor = 'vpt.prompt_embeddings';

export default defineMethod({
  title: 'VPT-Deep',
  summary: 'Learned prompt tokens beside those of every block.',
  suggested: true,
  paper: { title: 'Visual Prompt Tuning', url: 'https://arxiv.org/abs/2203.12119' },
  version: 1,
  options,
  page: {
    kind: 'prompts',
    equations: ['[h, _] <- Block_i([h, P_i]), P_i of n tokens, for each block i'],
    parameters: { formula: 'L n D, L the blocks that have prompts', count: ({ depth, width }, { prompts, lastBlocks }) => (lastBlocks ?? depth) * prompts * width },
    findings: 'In the study level with BitFit on average (75.8), better on structured tasks and worse on natural ones; the costliest per step, since the sequence is longer.',
    checkedAgainst: ['the study\'s code', 'PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  refuses: ({ depth }, { lastBlocks }) => (lastBlocks !== null && lastBlocks > depth ? `it has ${depth} blocks, not ${lastBlocks}` : null),
  tensors: (architecture, { prompts, lastBlocks }) => [{
    name: promptTensor, shape: [lastBlocks ?? architecture.depth, prompts, architecture.width], initial: promptStart(architecture),
  }],
  identityAtStart: () => 'random prompts take part in attention from the first step',
  act: {
    prompts(context) {
      const { options: { prompts, lastBlocks }, architecture: { width, depth }, block, tensor } = context;
      const index = block - depth + (lastBlocks ?? depth);
      if (index < 0) return null;
      return promptRows(tf.reshape(tf.slice(tensor(promptTensor), [index, 0, 0], [1, prompts, width]), [prompts, width]), context);
    },
  },
  interpolation: { refused: 'there are no prompts without effect to go to: even zeros take part in attention' },
});
