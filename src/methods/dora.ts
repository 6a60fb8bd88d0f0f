/**
 * DoRA: a low-rank update of a weight's direction, and its magnitude by itself. Liu et al., arXiv 2402.09353.
 *
 *   W' = m (W + s B A) / ||W + s B A||,   y = W' x + b
 *
 * with the norm of each row (each output's weights) and m [out] the trained magnitudes, which start at the norms of W. The
 * norm counts as a constant for the gradient (section 4.3 of the paper), as in Hugging Face's PEFT:
 *
 *   y = g * (W x) + g * s B A Dropout(x) + b,   g = m / ||W + s B A||
 *
 * Dropout, 0 unless asked for, acts on the update's input alone. PEFT's drops that of (g - 1) W x too.
 *
 * A ~ U(+-1 / sqrt(in)), B = 0: the identity at the start. Parameters: those of LoRA and one a row. Fold: the weight is W'.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { refusesBlocks } from '../peft/blocks';
import {
  adaptedLayers, adaptedRows, addLowRank, countLowRank, isAdapted, lowRankMatrix, lowRankOptions, lowRankTensors, lowRankUpdate, type LowRankForm,
} from '../peft/low-rank';
import { defineMethod, type FoldInput, type HookContext, type LinearSite, type TensorDeclaration } from '../peft/method';
import { hasBias, linearPath, weightShape } from '../vit/architecture';
import { detach } from '../vit/operations';

const options = z.strictObject({
  ...lowRankOptions,
  dropout: lowRankOptions.dropout.unwrap().default(0).describe('Dropout on the input of the update.'),
  sharing: z.enum(['fused', 'separate']).default('separate').describe('Whether targets among q, k and v share one A.'),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'DoRA',
  summary: 'Low-rank updates of the direction of weights, and their magnitudes by themselves.',
  paper: { title: 'DoRA: Weight-Decomposed Low-Rank Adaptation', url: 'https://arxiv.org/abs/2402.09353' },
  version: 1,
  options,
  page: {
    kind: 'low rank',
    equations: ['W\' = m (W + s B A) / ||W + s B A||, row by row', 'y = W\' x + b'],
    parameters: {
      formula: '(6 D r + 3 D) L for q, k, v',
      count: (architecture, options) => countLowRank(architecture, formOf(options)) + magnitudeCount(architecture, formOf(options)),
    },
    findings: 'Not part of the study. Its paper reports gains over LoRA at the same rank, the larger the smaller the rank.',
    checkedAgainst: ['PyTorch', 'Hugging Face PEFT'],
    huggingFace: 'LORA with use_dora',
  },
  trains: [{ pattern: /^/, train: false }],
  refuses: refusesBlocks,
  tensors: declare,
  identityAtStart: () => true,
  act: { linearOutput: (y, x, site, context) => isAdapted(site, context, formOf(context.options)) ? adapted(y, x, site, context) : y },
  actsFirst: true,
  detached: 'the norm of each row',
  fold,
  interpolation: { kind: 'folded' },
});

function declare(architecture: Architecture, options: Options): TensorDeclaration[] {
  const form = formOf(options);
  const magnitudes = adaptedLayers(architecture, form).map(({ site, block }): TensorDeclaration => {
    const rows = adaptedRows(site, architecture, form), [, inputs] = weightShape(site, architecture);
    return {
      name: magnitudeName(site, block), shape: [rows.filter(Boolean).length],
      initial: { kind: 'computed', values: ({ base }) => rowNorms(base(`${linearPath(site, block)}.weight`), inputs).filter((_, row) => rows[row]) },
    };
  });
  return [...lowRankTensors(architecture, form, inputs => ({ a: { kind: 'uniform', limit: 1 / Math.sqrt(inputs) }, b: { kind: 'constant', value: 0 } })), ...magnitudes];
}

function magnitudeCount(architecture: Architecture, form: LowRankForm): number {
  return adaptedLayers(architecture, form).reduce((sum, { site }) => sum + adaptedRows(site, architecture, form).filter(Boolean).length, 0);
}

/** y [rows, out] is W x + b. */
function adapted(y: Tensor, x: Tensor, site: LinearSite, context: HookContext<Options>): Tensor {
  const form = formOf(context.options), { architecture, block, tensor } = context;
  const gain = gains(site, form, context); // [out]
  const update = lowRankUpdate(x, site, form, context)!;
  if (!hasBias(site, architecture)) return tf.mul(tf.add(y, update), gain);
  const bias = tensor(`${linearPath(site, block)}.bias`);
  return tf.add(tf.mul(tf.add(tf.sub(y, bias), update), gain), bias);
}

/** m / ||W + s B A|| for adapted rows, 1 for the others: [out]. */
function gains(site: LinearSite, form: LowRankForm, { architecture, block, tensor }: HookContext<Options>): Tensor {
  const [outputs, inputs] = weightShape(site, architecture);
  const weight = tf.reshape(tensor(`${linearPath(site, block)}.weight`), [outputs, inputs]);
  const detached = (name: string) => detach(tensor(name));
  const norms = tf.sqrt(tf.sum(tf.square(tf.add(weight, lowRankMatrix(site, form, { architecture, block, tensor: detached }))), 1));
  const magnitudes = tensor(magnitudeName(site, block));
  const rows = adaptedRows(site, architecture, form);
  if (rows.every(Boolean)) return tf.div(magnitudes, norms);
  return tf.concat(runs(rows).map(({ start, length, adapted, before }) => adapted
    ? tf.div(tf.slice(magnitudes, [before], [length]), tf.slice(norms, [start], [length])) : tf.ones([length])), 0);
}

/** Neighbouring rows of one kind, with the number of adapted rows before them. */
function runs(rows: readonly boolean[]): { start: number; length: number; adapted: boolean; before: number }[] {
  const found: { start: number; length: number; adapted: boolean; before: number }[] = [];
  let before = 0;
  rows.forEach((adapted, start) => {
    const last = found.at(-1);
    if (last?.adapted === adapted) last.length++;
    else found.push({ start, length: 1, adapted, before });
    before += Number(adapted);
  });
  return found;
}

function fold(input: FoldInput, options: Options): Record<string, Float32Array> {
  const form = formOf(options), { architecture } = input;
  return Object.fromEntries(adaptedLayers(architecture, form).map(({ site, block }) => {
    const name = `${linearPath(site, block)}.weight`, [, inputs] = weightShape(site, architecture);
    const weight = Float32Array.from(input.base(name));
    addLowRank(weight, site, block, form, input);
    const norms = rowNorms(weight, inputs), magnitudes = input.trained(magnitudeName(site, block));
    let next = 0;
    adaptedRows(site, architecture, form).forEach((isRow, row) => {
      if (!isRow) return;
      const gain = magnitudes[next++]! / norms[row]!;
      for (let column = 0; column < inputs; column++) weight[row * inputs + column]! *= gain;
    });
    return [name, weight];
  }));
}

/** Euclidean norm of each row of a matrix with so many columns. */
function rowNorms(matrix: Float32Array, columns: number): Float64Array {
  return Float64Array.from({ length: matrix.length / columns }, (_, row) => Math.sqrt(
    matrix.subarray(row * columns, (row + 1) * columns).reduce((sum, x) => sum + x * x, 0)));
}

function magnitudeName(site: LinearSite, block: number): string {
  return site === 'qkv' ? `blocks.${block}.attn.dora.magnitude` : `${linearPath(site, block)}.dora.magnitude`;
}

function formOf(options: Options): LowRankForm {
  return { ...options, name: 'dora' };
}
