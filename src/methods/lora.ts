/**
 * LoRA: a low-rank update of the query, key and value projections. Hu et al., arXiv 2106.09685.
 *
 *   [dq, dk, dv] = s * B A Dropout(x),   x = LayerNorm(h), the input of the fused qkv layer
 *
 * study: one A [r, D] shared by all targets and one B [t D, r], s = 1; both start at N(0, 0.02^2), because the study's
 * constructor resets every linear layer after the method's own initialiser (study.md 0.10, 1.3).
 * original: A and B of their own for each target, s = alpha / r, A ~ U(+-1 / sqrt(D)) (PyTorch's Kaiming with a = sqrt(5)), B = 0.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { defineMethod, type FoldInput, type HookContext, type TensorDeclaration } from '../peft/method';
import { linear } from '../vit/operations';

const projections = ['q', 'k', 'v'] as const;
type Projection = typeof projections[number];

const options = z.strictObject({
  rank: z.int().positive().default(8).describe('Rank of the update.').meta({ search: [1, 8, 16, 32] }),
  alpha: z.number().positive().nullable().default(null).describe('The update is scaled by alpha / rank; null scales by 1, as the study does.'),
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout on the input of the update.'),
  targets: z.array(z.enum(projections)).min(1).default([...projections]).describe('Which projections are adapted.'),
  variant: z.enum(['study', 'original']).default('study')
    .describe('study: one A for all targets, both factors random at the start; original: as in the paper, B = 0.'),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'LoRA',
  summary: 'A low-rank update of the query, key and value projections.',
  suggested: true,
  paper: { title: 'LoRA: Low-Rank Adaptation of Large Language Models', url: 'https://arxiv.org/abs/2106.09685' },
  version: 1,
  options,
  trains: [{ pattern: /^/, train: false }],
  tensors: declare,
  identityAtStart: ({ variant }) => variant === 'original' || 'the study starts both factors at N(0, 0.02^2)',
  act: {
    linearOutput(y, x, site, context) {
      if (site !== 'qkv') return y;
      const dropped = context.dropout(x, context.options.dropout, 'attn.lora');
      return tf.add(y, update(dropped, context));
    },
  },
  fold,
});

function declare({ depth, width }: Architecture, { rank, targets, variant }: Options): TensorDeclaration[] {
  const kaiming = { kind: 'uniform', limit: 1 / Math.sqrt(width) } as const;
  const reset = { kind: 'normal', std: 0.02 } as const;
  return Array.from({ length: depth }, (_, block): TensorDeclaration[] => variant === 'study' ? [
    { name: tensorName(block, 'a'), shape: [rank, width], initial: reset },
    { name: tensorName(block, 'b'), shape: [inOrder(targets).length * width, rank], initial: reset },
  ] : inOrder(targets).flatMap((target): TensorDeclaration[] => [
    { name: tensorName(block, 'a', target), shape: [rank, width], initial: kaiming },
    { name: tensorName(block, 'b', target), shape: [width, rank], initial: { kind: 'constant', value: 0 } },
  ])).flat();
}

/** The update of all three thirds of the qkv output, [rows, 3 * width]; zero where a projection is no target. */
function update(x: Tensor, { options, block, tensor }: HookContext<Options>): Tensor {
  const targets = inOrder(options.targets);
  const low = options.variant === 'study' ? linear(x, tensor(tensorName(block, 'a'))) : null; // [rows, rank]
  const deltas = options.variant === 'study'
    ? split(linear(low!, tensor(tensorName(block, 'b'))), targets.length)
    : targets.map(target => linear(linear(x, tensor(tensorName(block, 'a', target))), tensor(tensorName(block, 'b', target))));
  const whole = targets.length === 3 && deltas.length === 1 ? deltas[0]!
    : tf.concat(projections.map(p => targets.includes(p) ? deltas[targets.indexOf(p)]! : tf.zerosLike(x)), 1);
  const scale = scaleOf(options);
  return scale === 1 ? whole : tf.mul(whole, scale);
}

/** Thirds are cut only where a projection is left out, so that the common case stays one product. */
function split(fused: Tensor, targets: number): Tensor[] {
  return targets === 1 || targets === 3 ? [fused] : tf.split(fused, targets, 1);
}

/** W_qkv' = W_qkv + s B A, the rows of W_qkv being q, k, v. */
function fold({ architecture: { depth, width }, base, trained }: FoldInput, options: Options): Record<string, Float32Array> {
  const targets = inOrder(options.targets);
  return Object.fromEntries(Array.from({ length: depth }, (_, block) => {
    const name = `blocks.${block}.attn.qkv.weight`;
    const weight = Float32Array.from(base(name));
    targets.forEach((target, index) => {
      const own = options.variant === 'original' ? target : undefined;
      const b = trained(tensorName(block, 'b', own)).subarray(own ? 0 : index * width * options.rank);
      addProduct(weight.subarray(projections.indexOf(target) * width * width), b, trained(tensorName(block, 'a', own)), { ...options, width });
    });
    return [name, weight];
  }));
}

/** target [width, width] += s * b [width, rank] a [rank, width]. */
function addProduct(target: Float32Array, b: Float32Array, a: Float32Array, shape: Options & { width: number }): void {
  const { width, rank } = shape;
  for (let row = 0; row < width; row++) {
    for (let column = 0; column < width; column++) {
      let sum = 0;
      for (let r = 0; r < rank; r++) sum += b[row * rank + r]! * a[r * width + column]!;
      target[row * width + column]! += scaleOf(shape) * sum;
    }
  }
}

function scaleOf({ alpha, rank }: Options): number {
  return alpha === null ? 1 : alpha / rank;
}

function inOrder(targets: readonly Projection[]): Projection[] {
  return projections.filter(p => targets.includes(p));
}

function tensorName(block: number, factor: 'a' | 'b', target?: Projection): string {
  return `blocks.${block}.attn.lora.lora_${factor}${target ? `_${target}` : ''}.weight`;
}
