/**
 * RepAdapter: a linear bottleneck in front of the attention and of the MLP, which folds into the layer behind it.
 * Luo et al., Towards Efficient Visual Adaption via Structural Re-parameterization, arXiv 2302.08106.
 *
 *   R(x) = x + s * (W_B Dropout(W_A x + b_A) + b_B),  x = LayerNorm(h);  MSA(R1(x)), MLP(R2(x))
 *
 * W_A [r, D]; W_B [D, r] is block-diagonal with g blocks: output j of group k reads the bottleneck's group k. Nothing is
 * non-linear. The study runs it as its authors do: W_A ~ Xavier's uniform, the rest 0 (its Conv1d is not reset; study.md 0.10).
 * 2 L (D r + r + D r / g + D) parameters.
 *
 * Fold, (W, b) being qkv or fc1: W' = W + s W W_B W_A, b' = b + s W (W_B b_A + b_B).
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { addProduct, product } from '../peft/matrices';
import { defineMethod, type FoldInput, type HookContext, type TensorDeclaration } from '../peft/method';
import { linear } from '../vit/operations';

const options = z.strictObject({
  bottleneck: z.int().positive().default(8).describe('Width of the bottlenecks.').meta({ search: [8, 16, 32] }),
  groups: z.int().positive().default(2).describe('Groups of the second layer; they divide the bottleneck and the backbone\'s width.'),
  scale: z.number().default(1).describe('Factor of the adapters\' own terms.').meta({ search: [0.1, 0.5, 1, 5, 10] }),
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout inside the bottlenecks.'),
});
type Options = z.output<typeof options>;

const modules = [
  { module: 'ft_attn_module', site: 'qkv', path: 'attn.qkv' },
  { module: 'ft_mlp_module', site: 'fc1', path: 'mlp.fc1' },
] as const;
type Module = typeof modules[number]['module'];

export default defineMethod({
  title: 'RepAdapter',
  summary: 'Linear bottlenecks in front of the attention and the MLP of every block; they fold into the backbone.',
  paper: { title: 'Towards Efficient Visual Adaption via Structural Re-parameterization', url: 'https://arxiv.org/abs/2302.08106' },
  version: 1,
  options,
  page: {
    kind: 'adapter',
    equations: ['MSA(R1(x)), MLP(R2(x)), x = LayerNorm(h)', 'R(x) = x + s (W_B Dropout(W_A x + b_A) + b_B), W_B of g groups'],
    parameters: { formula: '2 L (D r + r + D r / g + D)', count: ({ depth, width }, { bottleneck: r, groups }) => 2 * depth * (width * r + r + width * r / groups + width) },
    findings: 'In the middle of the study\'s field on VTAB-1K (77.0); with LoRA the best of its CLIP experiment on ImageNet (76.5).',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  refuses,
  tensors: declare,
  identityAtStart: () => true,
  act: {
    linearInput(x, site, context) {
      const here = modules.find(m => m.site === site);
      return here ? tf.add(x, delta(x, here.module, context)) : x;
    },
  },
  fold,
  interpolation: { kind: 'weights' },
});

function declare({ depth, width }: Architecture, { bottleneck, groups }: Options): TensorDeclaration[] {
  const zero = { kind: 'constant', value: 0 } as const;
  return Array.from({ length: depth }, (_, block) => modules.map(({ module }) => tensorNames(block, module))).flat().flatMap((names): TensorDeclaration[] => [
    { name: names.downWeight, shape: [bottleneck, width, 1], initial: { kind: 'uniform', limit: Math.sqrt(6 / (width + bottleneck)) } },
    { name: names.downBias, shape: [bottleneck], initial: zero },
    { name: names.upWeight, shape: [width, bottleneck / groups, 1], initial: zero, neutral: 0 },
    { name: names.upBias, shape: [width], initial: zero, neutral: 0 },
  ]);
}

function refuses({ width }: Architecture, { bottleneck, groups }: Options): string | null {
  return bottleneck % groups || width % groups ? `${groups} groups do not divide both the bottleneck ${bottleneck} and the width ${width}` : null;
}

/** s * (W_B Dropout(W_A x + b_A) + b_B): [rows, width] -> [rows, width]. */
function delta(x: Tensor, module: Module, { options, architecture: { width }, block, tensor, dropout }: HookContext<Options>): Tensor {
  const { bottleneck, groups, scale } = options;
  const names = tensorNames(block, module);
  const low = dropout(linear(x, tf.reshape(tensor(names.downWeight), [bottleneck, width]), tensor(names.downBias)), options.dropout, module);
  const weight = tf.reshape(tensor(names.upWeight), [width, bottleneck / groups]);
  const weights = groups === 1 ? [weight] : tf.split(weight, groups, 0);
  const lows = groups === 1 ? [low] : tf.split(low, groups, 1);
  const up = weights.map((weight, group) => linear(lows[group]!, weight)); // [rows, width / groups] each
  const whole = tf.add(groups === 1 ? up[0]! : tf.concat(up, 1), tensor(names.upBias));
  return scale === 1 ? whole : tf.mul(whole, scale);
}

function fold({ architecture: { depth, width, hidden, qkvBias }, base, trained }: FoldInput, options: Options): Record<string, Float32Array> | string {
  const { bottleneck, scale } = options;
  if (!qkvBias) return 'this backbone\'s qkv has no bias, which would have to take up what the adapters add to its input';
  return Object.fromEntries(Array.from({ length: depth }, (_, block) => modules.flatMap(({ module, site, path }) => {
    const names = tensorNames(block, module);
    const outputs = site === 'qkv' ? 3 * width : hidden;
    const name = `blocks.${block}.${path}`;
    const weight = Float32Array.from(base(`${name}.weight`)), up = blockDiagonal(trained(names.upWeight), width, options);
    // W W_B first: [outputs, bottleneck].
    const through = product(base(`${name}.weight`), up, { rows: outputs, inner: width, columns: bottleneck });
    addProduct(weight, through, trained(names.downWeight), { rows: outputs, inner: bottleneck, columns: width, scale });
    const bias = Float32Array.from(base(`${name}.bias`));
    addProduct(bias, through, trained(names.downBias), { rows: outputs, inner: bottleneck, columns: 1, scale });
    addProduct(bias, base(`${name}.weight`), trained(names.upBias), { rows: outputs, inner: width, columns: 1, scale });
    return [[`${name}.weight`, weight] as const, [`${name}.bias`, bias] as const];
  })).flat());
}

/** W_B as a full matrix [width, bottleneck]. */
function blockDiagonal(grouped: Float32Array, width: number, { bottleneck, groups }: Options): Float32Array {
  const own = bottleneck / groups, full = new Float32Array(width * bottleneck);
  for (let row = 0; row < width; row++) {
    const first = Math.floor(row / (width / groups)) * own;
    for (let column = 0; column < own; column++) full[row * bottleneck + first + column] = grouped[row * own + column]!;
  }
  return full;
}

function tensorNames(block: number, module: Module) {
  const path = `blocks.${block}.${module}`;
  return { downWeight: `${path}.conv_A.weight`, downBias: `${path}.conv_A.bias`, upWeight: `${path}.conv_B.weight`, upBias: `${path}.conv_B.bias` };
}
