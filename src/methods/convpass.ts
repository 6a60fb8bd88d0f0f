/**
 * Convpass: bottlenecks with a 3x3 convolution over the patches, in parallel to the attention and to the MLP.
 * Jie and Deng, Convolutional Bypasses Are Better Vision Transformer Adapters, arXiv 2207.07039.
 *
 *   h' = h + DP(LS(MSA(x))) + DP'(LS(C1(x))), x = LayerNorm(h); the MLP likewise with C2
 *   C(x) = s * (W_up Dropout(q(conv(q(W_down x + b_down)))) + b_up),  q(z) = z sigmoid(1.702 z)
 *
 * conv (r to r channels, dense, padded by 1, with bias) sees the patches as the image's grid. Class token and prompts pass
 * it one by one as images of 1x1, on which only the kernel's centre acts. 2 L (2 D r + r + D + 9 r^2 + r) parameters.
 *
 * study: W_down and W_up start at N(0, 0.02^2) (study.md 0.10). original: W_down ~ Xavier's uniform, W_up = 0; the branch is
 * drop-pathed in both. The convolution starts as the identity, or as Xavier's uniform.
 *
 * Written as one product with nine shifted copies of the grid, since not every engine has a convolution's gradient.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { defineMethod, type Branch, type HookContext, type Initializer, type TensorDeclaration } from '../peft/method';
import { gridSide } from '../vit/architecture';
import { linear, quickGelu } from '../vit/operations';

const options = z.strictObject({
  bottleneck: z.int().positive().default(8).describe('Channels of the convolution.').meta({ search: [8, 16] }),
  scale: z.number().default(10).describe('Factor of the branches.').meta({ search: [0.01, 0.1, 1, 10, 100] }),
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout behind the convolution.'),
  convolution: z.enum(['identity', 'xavier']).default('identity').describe('How the convolution starts.').meta({ search: ['xavier', 'identity'] }),
  variant: z.enum(['study', 'original']).default('study').describe('study: random start; original: the identity at the start.'),
});
type Options = z.output<typeof options>;

const moduleNames = { attention: 'ft_attn_module', mlp: 'ft_mlp_module' } satisfies Record<Branch, string>;

export default defineMethod({
  title: 'Convpass',
  summary: 'Convolutional bottlenecks in parallel to the attention and the MLP of every block.',
  paper: { title: 'Convolutional Bypasses Are Better Vision Transformer Adapters', url: 'https://arxiv.org/abs/2207.07039' },
  version: 1,
  options,
  page: {
    kind: 'adapter',
    equations: ['h <- h + DP(LS(MSA(x))) + DP\'(LS(C(x))), x = LayerNorm(h), and likewise beside the MLP', 'C(x) = s (W_up Dropout(q(conv3x3(q(W_down x + b_down)))) + b_up), q(z) = z sigmoid(1.702 z)'],
    parameters: { formula: '2 L (2 D r + r + D + 9 r^2 + r)', count: ({ depth, width }, { bottleneck: r }) => 2 * depth * (2 * width * r + r + width + 9 * r ** 2 + r) },
    findings: 'The best of the study on average over VTAB-1K (77.7) and on structured tasks (63.1); under a shift of the images behind the others.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: declare,
  identityAtStart: ({ variant }) => variant === 'original' || 'the study starts the weights at N(0, 0.02^2)',
  act: {
    branchOutput: (y, { normalized }, branch, context) =>
      tf.add(y, context.dropPath(context.layerScale(bypass(normalized, branch, context), branch), moduleNames[branch])),
  },
  interpolation: { kind: 'module' },
});

function declare({ depth, width }: Architecture, { bottleneck, convolution, variant }: Options): TensorDeclaration[] {
  const zero: Initializer = { kind: 'constant', value: 0 };
  const reset: Initializer = { kind: 'normal', std: 0.02 };
  const xavier = (fans: number): Initializer => ({ kind: 'uniform', limit: Math.sqrt(6 / fans) });
  return Array.from({ length: depth }, (_, block) => (['attention', 'mlp'] as const).map(branch => tensorNames(block, branch))).flat()
    .flatMap((names): TensorDeclaration[] => [
      { name: names.downWeight, shape: [bottleneck, width], initial: variant === 'study' ? reset : xavier(width + bottleneck) },
      { name: names.downBias, shape: [bottleneck], initial: zero },
      { name: names.kernel, shape: [bottleneck, bottleneck, 3, 3], initial: convolution === 'xavier' ? xavier(18 * bottleneck) : { kind: 'centre-tap' } },
      { name: names.kernelBias, shape: [bottleneck], initial: zero },
      { name: names.upWeight, shape: [width, bottleneck], initial: variant === 'study' ? reset : zero, neutral: 0 },
      { name: names.upBias, shape: [width], initial: zero, neutral: 0 },
    ]);
}

/** C(x): [rows, width] -> [rows, width]. */
function bypass(x: Tensor, branch: Branch, context: HookContext<Options>): Tensor {
  const { options: { dropout, scale }, block, tensor } = context;
  const names = tensorNames(block, branch);
  const low = quickGelu(linear(x, tensor(names.downWeight), tensor(names.downBias))); // [rows, bottleneck]
  const mixed = quickGelu(convolve(low, tensor(names.kernel), tensor(names.kernelBias), context));
  const up = linear(context.dropout(mixed, dropout, moduleNames[branch]), tensor(names.upWeight), tensor(names.upBias));
  return scale === 1 ? up : tf.mul(up, scale);
}

/** 3x3 convolution over the patches, 1x1 over all other tokens: x [rows, r], kernel [r, r, 3, 3] -> [rows, r]. */
function convolve(x: Tensor, kernel: Tensor, bias: Tensor, { architecture, batch }: HookContext<Options>): Tensor {
  const [rows, channels] = x.shape as [number, number];
  const side = gridSide(architecture), inGrid = side ** 2 * batch, behind = rows - batch - inGrid;
  const [front, patches, others] = tf.split(x, behind ? [batch, inGrid, behind] : [batch, inGrid], 0) as [Tensor, Tensor, Tensor?];
  const taps = tf.transpose(tf.reshape(kernel, [channels, channels, 9]), [0, 2, 1]); // [out, tap, in]
  const centre = tf.reshape(tf.slice(taps, [0, 4, 0], [channels, 1, channels]), [channels, channels]);
  const shifted = shiftedCopies(tf.reshape(patches, [side, side, batch, channels]), side);
  const convolved = linear(tf.reshape(shifted, [inGrid, 9 * channels]), tf.reshape(taps, [channels, 9 * channels]));
  return tf.add(tf.concat([linear(front, centre), convolved, ...others ? [linear(others, centre)] : []], 0), bias);
}

/** [side, side, batch, r] -> [side, side, batch, 9 r]: tap (dy, dx) of the padded grid, dy slowest, as a kernel is laid out. */
function shiftedCopies(grid: Tensor, side: number): Tensor {
  const padded = tf.pad(grid, [[1, 1], [1, 1], [0, 0], [0, 0]]);
  const [, , batch, channels] = grid.shape as [number, number, number, number];
  const taps = Array.from({ length: 9 }, (_, tap) => tf.slice(padded, [Math.floor(tap / 3), tap % 3, 0, 0], [side, side, batch, channels]));
  return tf.concat(taps, 3);
}

function tensorNames(block: number, branch: Branch) {
  const module = `blocks.${block}.${moduleNames[branch]}`;
  return {
    downWeight: `${module}.adapter_down.weight`, downBias: `${module}.adapter_down.bias`,
    kernel: `${module}.adapter_conv.weight`, kernelBias: `${module}.adapter_conv.bias`,
    upWeight: `${module}.adapter_up.weight`, upBias: `${module}.adapter_up.bias`,
  };
}
