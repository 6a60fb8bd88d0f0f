/**
 * VQT: learned tokens that only ask. They attend to the tokens of their block and nobody attends to them, so that the
 * backbone's own features stay as they are; what comes out of them is read by the classifier. Tu, Mai and Chao, arXiv 2212.03220.
 *
 *   [h_i, z_i] = Block_i([h_{i-1}, Q_i]),  keys and values from h_{i-1} alone
 *   x = sum_{i,j} w_ij z_ij / |z_ij| + w_c c / |c|,   logits = W x + b,   c the class token after the final LayerNorm
 *
 * Q ~ U(-v, v), v = sqrt(6 / (3 p^2 + D)); w = 1. Dropout 0.1 on the queries, one mask for the batch. L n D + n L + 1 parameters.
 *
 * As the paper means it. The study's released code collects other tokens than the queries' outputs and normalises over the
 * wrong axis, so that nothing depends on the queries (study.md 1.3); there is no variant for that.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { defineMethod } from '../peft/method';
import { promptStart } from '../peft/prompts';
import { forEachImage } from '../vit/operations';

const options = z.strictObject({
  prompts: z.int().positive().default(10).describe('Query tokens in each block.').meta({ search: [1, 5, 10, 20] }),
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout on the query tokens.'),
});

const queryTensor = 'vqt.query_prompt_embeddings', weightTensor = 'vqt.combine_layer.weight';

export default defineMethod({
  title: 'VQT',
  summary: 'Query tokens in every block that read features for the classifier.',
  paper: { title: 'Visual Query Tuning: Towards Effective Usage of Intermediate Representations', url: 'https://arxiv.org/abs/2212.03220' },
  version: 1,
  options,
  page: {
    kind: 'prompts',
    equations: ['[h_i, z_i] = Block_i([h_{i-1}, Q_i]), keys and values from h_{i-1} alone', 'x = sum w_ij z_ij / |z_ij| + w_c c / |c|', 'logits = W x + b'],
    parameters: { formula: 'L n D + L n + 1', count: ({ depth, width }, { prompts }) => depth * prompts * (width + 1) + 1 },
    findings: 'Not in the study\'s tables: its released code for it computes something else. Its paper finds it ahead of other methods that use intermediate features, and in many cases of full fine-tuning.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: (architecture, { prompts }) => [
    { name: queryTensor, shape: [architecture.depth, prompts, architecture.width], initial: promptStart(architecture) },
    { name: weightTensor, shape: [1, architecture.depth * prompts + 1], initial: { kind: 'constant', value: 1 } },
  ],
  identityAtStart: () => 'the classifier reads the queries\' outputs beside the class token',
  act: {
    queries({ options: { prompts, dropout }, architecture: { width }, batch, block, tensor, dropout: drop }) {
      const own = tf.reshape(tf.slice(tensor(queryTensor), [block, 0, 0], [1, prompts, width]), [prompts, width]);
      return forEachImage(drop(own, dropout, 'vqt'), batch);
    },
    headInput(x, { architecture: { depth, width }, batch, tensor, activation }) {
      const found = Array.from({ length: depth }, (_, block) => activation(`blocks.${block}.queries`));
      const all = unit(tf.concat([...found, x], 0)); // [(depth * prompts + 1) * batch, width]
      const weights = tensor(weightTensor);
      return tf.reshape(tf.matMul(weights as tf.Tensor2D, tf.reshape(all, [weights.shape[1]!, batch * width])), [batch, width]);
    },
  },
  interpolation: { refused: 'the classifier reads other features than the backbone\'s class token, and there is nothing between the two' },
});

/** Rows of length 1. */
function unit(x: Tensor): Tensor {
  return tf.mul(x, tf.rsqrt(tf.add(tf.sum(tf.square(x), -1, true), 1e-12)));
}
