/**
 * VPT-Shallow: learned tokens beside those of the image, given to the first block.
 * Jia et al., Visual Prompt Tuning, arXiv 2203.12119. Prompts ~ U(-v, v), v = sqrt(6 / (3 p^2 + D)).
 *
 *   original: h_0 = [class, patches, P], and P goes on through all blocks; no dropout unless asked for, a mask an image.
 *   study: [h_1, _] = Block_0([h_0, P]): the prompts are taken off behind the first block (study.md 0.4); dropout 0.1, one mask
 *   for the whole batch.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { defineMethod, type HookContext } from '../peft/method';
import { promptDropout, promptRows, promptStart } from '../peft/prompts';

const options = z.strictObject({
  prompts: z.int().positive().default(10).describe('Prompt tokens.').meta({ search: [5, 10, 50, 100, 200] }),
  dropout: promptDropout,
  variant: z.enum(['study', 'original']).default('study')
    .describe('study: taken off behind the first block, one dropout mask for the batch; original: through all blocks, a mask for each image.'),
});
type Options = z.output<typeof options>;

const promptTensor = 'vpt.prompt_embeddings';

export default defineMethod({
  title: 'VPT-Shallow',
  summary: 'Learned prompt tokens for the first block.',
  paper: { title: 'Visual Prompt Tuning', url: 'https://arxiv.org/abs/2203.12119' },
  version: 1,
  options,
  page: {
    kind: 'prompts',
    equations: ['original: h_0 = [class, patches, P]', 'study: [h_1, _] = Block_0([h_0, P])'],
    parameters: { formula: 'n D', count: ({ width }, { prompts }) => prompts * width },
    findings: 'In the study the weakest parameter-efficient method (67.4 on average); better than linear probing on most tasks.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: (architecture, { prompts }) => [{ name: promptTensor, shape: [1, prompts, architecture.width], initial: promptStart(architecture) }],
  identityAtStart: () => 'random prompts take part in attention from the first step',
  act: {
    inputTokens: context => (context.options.variant === 'original' ? rows(context) : null),
    prompts: context => (context.options.variant === 'study' && context.block === 0 ? rows(context) : null),
  },
  interpolation: { refused: 'there are no prompts without effect to go to: even zeros take part in attention' },
});

/** [prompts * batch, width]. */
function rows(context: HookContext<Options>): Tensor {
  const { options: { prompts }, architecture: { width }, tensor } = context;
  return promptRows(tf.reshape(tensor(promptTensor), [prompts, width]), context);
}
