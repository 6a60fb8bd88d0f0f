/**
 * APT, approximated prompt tuning: what prompts would add to the other tokens, without a longer sequence.
 * Wu et al., Approximated Prompt Tuning for Vision-Language Pre-trained Models, arXiv 2306.15706.
 *
 *   x' = e^s (x + w * E),   E = ReLU(h K^T) P,   K = P + (P W_1^T) W_2^T,   w = max over the prompts of ReLU(h K^T)
 *
 * h [N, D] is the block's normalised input, x the attention's output behind its projection, P [n, D] the prompts of the block;
 * w counts as a constant for the gradient. P ~ N(0, 0.02^2), W_1 ~ N(0, 1), W_2 = 0, s = 0. L (n D + 2 r D + 1) parameters.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { defineMethod, type HookContext } from '../peft/method';
import { linear } from '../vit/operations';

const options = z.strictObject({
  prompts: z.int().positive().default(50).describe('Prompts of each block.').meta({ search: [50, 200] }),
  rank: z.int().positive().default(4).describe('Rank of the map from prompts to keys.').meta({ search: [4, 8] }),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'APT',
  summary: 'The effect of prompts, approximated without a longer sequence.',
  paper: { title: 'Approximated Prompt Tuning for Vision-Language Pre-trained Models', url: 'https://arxiv.org/abs/2306.15706' },
  version: 1,
  options,
  page: {
    kind: 'prompts',
    equations: ['x\' = e^s (x + w * E), x the attention\'s output', 'E = A P, A = ReLU(h K^T), K = P + (P W_1^T) W_2^T', 'w = max of each row of A, held constant'],
    parameters: { formula: 'L (n D + 2 r D + 1)', count: ({ depth, width }, { prompts, rank }) => depth * (prompts * width + 2 * rank * width + 1) },
    findings: 'Not in the study. Its paper finds it ahead of deep prompts at a sixth of their extra cost, on tasks of vision and language.',
    checkedAgainst: ['the formula\'s golden values', 'PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: ({ depth, width }, { prompts, rank }) => Array.from({ length: depth }, (_, block) => tensorNames(block)).flatMap(names => [
    { name: names.prompts, shape: [prompts, width], initial: { kind: 'normal', std: 0.02 }, neutral: 0 },
    { name: names.down, shape: [rank, width], initial: { kind: 'normal', std: 1 } },
    { name: names.up, shape: [width, rank], initial: { kind: 'constant', value: 0 } },
    { name: names.scale, shape: [1], initial: { kind: 'constant', value: 0 }, neutral: 0 },
  ]),
  identityAtStart: () => 'the prompts start at random, near zero',
  act: {
    linearOutput: (y, _, site, context) => (site === 'proj' ? diffused(y, context) : y),
  },
  detached: 'the weight w of the prompts',
  interpolation: { kind: 'parameters' },
});

/** x' for the attention's output x, [rows, width]. */
function diffused(x: Tensor, { block, tensor, activation }: HookContext<Options>): Tensor {
  const names = tensorNames(block), prompts = tensor(names.prompts);
  const keys = tf.add(prompts, linear(linear(prompts, tensor(names.down)), tensor(names.up))); // [prompts, width]
  const attention = tf.relu(linear(activation(`blocks.${block}.attention.normalized`), keys)); // [rows, prompts]
  const added = tf.matMul(attention as tf.Tensor2D, prompts as tf.Tensor2D);
  return tf.mul(tf.add(x, tf.mul(added, constantMaximum(attention))), tf.exp(tensor(names.scale)));
}

/** The largest of each row, [rows, 1], through which no gradient flows back. */
function constantMaximum(x: Tensor): Tensor {
  return tf.customGrad(x => ({ value: tf.max(x as Tensor, -1, true), gradFunc: () => tf.zeros((x as Tensor).shape) }))(x);
}

function tensorNames(block: number) {
  const path = `blocks.${block}.apt`;
  return { prompts: `${path}.prompts`, down: `${path}.down`, up: `${path}.up`, scale: `${path}.scale` };
}
