/**
 * AdaptFormer: a bottleneck in parallel to the MLP. Chen et al., arXiv 2205.13535.
 *
 *   h' = h + MLP(LayerNorm(h)) + s * (W_up Dropout(ReLU(W_down h + b_down)) + b_up)
 *
 * h is the residual stream before the MLP, not normalised, in both variants.
 * study: the branch passes LayerScale and a drop path of its own; weights start at N(0, 0.02^2), biases at 0 (study.md 0.10).
 * original: neither, W_down ~ U(+-1 / sqrt(D)), the rest 0.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { defineMethod, type Initializer, type TensorDeclaration } from '../peft/method';
import { linear } from '../vit/operations';

const options = z.strictObject({
  bottleneck: z.int().positive().default(64).describe('Width of the bottleneck.').meta({ search: [4, 16, 32] }),
  scale: z.number().default(0.1).describe('Factor of the branch.').meta({ search: [0.05, 0.1, 0.2] }),
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout inside the bottleneck.'),
  variant: z.enum(['study', 'original']).default('study')
    .describe('study: branch with drop path, random start; original: without drop path, zero at the start.'),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'AdaptFormer',
  summary: 'A bottleneck in parallel to the MLP of every block.',
  suggested: true,
  paper: { title: 'AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition', url: 'https://arxiv.org/abs/2205.13535' },
  version: 1,
  options,
  trains: [{ pattern: /^/, train: false }],
  tensors: declare,
  identityAtStart: ({ variant }) => variant === 'original' || 'the study starts the weights at N(0, 0.02^2)',
  act: {
    branchOutput(y, { residual }, branch, context) {
      if (branch !== 'mlp') return y;
      const { options: { dropout, scale, variant }, block, tensor } = context;
      const names = tensorNames(block);
      const low = tf.relu(linear(residual, tensor(names.downWeight), tensor(names.downBias))); // [rows, bottleneck]
      const up = linear(context.dropout(low, dropout, 'ft_mlp_module'), tensor(names.upWeight), tensor(names.upBias));
      const delta = tf.mul(up, scale);
      return tf.add(y, variant === 'study' ? context.dropPath(context.layerScale(delta, 'mlp'), 'ft_mlp_module') : delta);
    },
  },
});

function declare({ depth, width }: Architecture, { bottleneck, variant }: Options): TensorDeclaration[] {
  const zero: Initializer = { kind: 'constant', value: 0 };
  const reset: Initializer = { kind: 'normal', std: 0.02 };
  const kaiming: Initializer = { kind: 'uniform', limit: 1 / Math.sqrt(width) };
  return Array.from({ length: depth }, (_, block) => tensorNames(block)).flatMap((names): TensorDeclaration[] => [
    { name: names.downWeight, shape: [bottleneck, width], initial: variant === 'study' ? reset : kaiming },
    { name: names.downBias, shape: [bottleneck], initial: zero },
    { name: names.upWeight, shape: [width, bottleneck], initial: variant === 'study' ? reset : zero },
    { name: names.upBias, shape: [width], initial: zero },
  ]);
}

function tensorNames(block: number) {
  const module = `blocks.${block}.ft_mlp_module`;
  return {
    downWeight: `${module}.down_proj.weight`, downBias: `${module}.down_proj.bias`,
    upWeight: `${module}.up_proj.weight`, upBias: `${module}.up_proj.bias`,
  };
}
