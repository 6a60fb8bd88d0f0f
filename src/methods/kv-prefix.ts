/**
 * Prefix tuning: learned keys and values beside those of every block's attention. Li and Liang, arXiv 2101.00190.
 *
 *   Attention_i = softmax(Q [K, P^K_i]^T / sqrt(d)) [V, P^V_i],   P of n rows
 *
 * Without reparametrisation P ~ N(0, 0.02^2) is trained itself: 2 L n D parameters. With one, an embedding E [n, D] ~ N(0, 1) and a
 * network make it, P = W_2 tanh(W_1 E + b_1) + b_2, W_1 [h, D], W_2 [2 L D, h], as in the paper and in PT-PEFT (arXiv 2411.00029):
 * n D + D h + h + 2 L D h + 2 L D parameters while it trains. As in the paper, only P is kept of it, 2 L n D: the saved adapter is one
 * without a network, unless the options ask for it.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { defineMethod, type Condensed, type FoldInput, type HookContext, type TensorDeclaration } from '../peft/method';
import { forEachImage, linear } from '../vit/operations';

const options = z.strictObject({
  prompts: z.int().positive().default(16).describe('Keys and values that each block gets.').meta({ search: [4, 8, 16, 32] }),
  reparametrization: z.int().positive().nullable().default(null).describe('Hidden width of the network that makes them; null: they are trained themselves.'),
  condense: z.boolean().default(true).describe('Whether a saved adapter holds the keys and values that such a network made, in place of the network.'),
});
type Options = z.output<typeof options>;

const key = 'kv_prefix.key', value = 'kv_prefix.value', embedding = 'kv_prefix.embedding';
const network = { inWeight: 'kv_prefix.mlp.0.weight', inBias: 'kv_prefix.mlp.0.bias', outWeight: 'kv_prefix.mlp.2.weight', outBias: 'kv_prefix.mlp.2.bias' };

export default defineMethod({
  title: 'Prefix tuning',
  summary: 'Learned keys and values beside those of every block\'s attention.',
  paper: { title: 'Prefix-Tuning: Optimizing Continuous Prompts for Generation', url: 'https://arxiv.org/abs/2101.00190' },
  version: 1,
  options,
  page: {
    kind: 'prompts',
    equations: ['softmax(Q [K, P^K_i]^T / sqrt(d)) [V, P^V_i], P of n rows for each block i', 'with reparametrisation: P = W_2 tanh(W_1 E + b_1) + b_2'],
    parameters: {
      formula: '2 L n D; with reparametrisation n D + D h + h + 2 L D h + 2 L D while it trains',
      count: ({ depth, width }, { prompts, reparametrization: h }) => (h === null ? 2 * depth * prompts * width
        : prompts * width + width * h + h + 2 * depth * width * (h + 1)),
    },
    findings: 'Not in the study. PT-PEFT trains it before other methods, to keep the representations of the pre-training.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: declare,
  identityAtStart: () => 'more keys share the attention from the first step',
  act: {
    attentionInputs({ q, k, v }, context) {
      const [keys, values] = prefixes(context);
      return { q, k: tf.concat([k, forEachImage(keys, context.batch)], 0), v: tf.concat([v, forEachImage(values, context.batch)], 0) };
    },
  },
  condense,
  interpolation: { refused: 'there are no prefixes without effect to go to: a key of zeros takes its share of the attention' },
});

function declare({ depth, width }: Architecture, { prompts, reparametrization: h }: Options): TensorDeclaration[] {
  if (h === null) return [key, value].map(name => ({ name, shape: [depth, prompts, width], initial: { kind: 'normal', std: 0.02 } }));
  const [ofWidth, ofHidden] = [width, h].map(inputs => ({ kind: 'uniform', limit: 1 / Math.sqrt(inputs) } as const)); // as PyTorch's linear layers
  return [
    { name: embedding, shape: [prompts, width], initial: { kind: 'normal', std: 1 } },
    { name: network.inWeight, shape: [h, width], initial: ofWidth! },
    { name: network.inBias, shape: [h], initial: ofWidth! },
    { name: network.outWeight, shape: [2 * depth * width, h], initial: ofHidden! },
    { name: network.outBias, shape: [2 * depth * width], initial: ofHidden! },
  ];
}

/** P in place of the network that made it. */
function condense({ architecture: { depth, width }, trained }: Omit<FoldInput, 'base'>, options: Options): Condensed | null {
  const { prompts, reparametrization: hidden } = options;
  if (hidden === null || !options.condense) return null;
  const active = product(trained(embedding), trained(network.inWeight), { rows: prompts, inner: width, bias: trained(network.inBias) }).map(Math.tanh); // [n, h]
  const made = product(Float32Array.from(active), trained(network.outWeight), { rows: prompts, inner: hidden, bias: trained(network.outBias) }); // [n, 2 L D]
  const tensors = Object.fromEntries([key, value].map((name, which) => {
    const data = new Float32Array(depth * prompts * width);
    for (let block = 0; block < depth; block++) for (let prompt = 0; prompt < prompts; prompt++) {
      const from = prompt * 2 * depth * width + (2 * block + which) * width;
      data.set(made.subarray(from, from + width), (block * prompts + prompt) * width);
    }
    return [name, data];
  }));
  return { options: { ...options, reparametrization: null }, tensors };
}

/** a [rows, inner] times weight [out, inner] transposed, plus bias [out]: summed in double precision. */
function product(a: Float32Array, weight: Float32Array, { rows, inner, bias }: { rows: number; inner: number; bias: Float32Array }): Float64Array {
  const outputs = bias.length, result = new Float64Array(rows * outputs);
  for (let row = 0; row < rows; row++) for (let output = 0; output < outputs; output++) {
    let sum = bias[output]!;
    for (let i = 0; i < inner; i++) sum += a[row * inner + i]! * weight[output * inner + i]!;
    result[row * outputs + output] = sum;
  }
  return result;
}

/** Keys and values of the block, [prompts, width] each. Rows of W_2: block by block, the keys' before the values'. */
function prefixes({ options: { prompts, reparametrization }, architecture: { width }, block, tensor }: HookContext<Options>): [Tensor, Tensor] {
  if (reparametrization === null) {
    return [key, value].map(name => tf.reshape(tf.slice(tensor(name), [block, 0, 0], [1, prompts, width]), [prompts, width])) as [Tensor, Tensor];
  }
  const hidden = tf.tanh(linear(tensor(embedding), tensor(network.inWeight), tensor(network.inBias))); // [prompts, h]
  const ofBlock = (name: string) => tf.slice(tensor(name), block * 2 * width, 2 * width);
  return tf.split(linear(hidden, ofBlock(network.outWeight), ofBlock(network.outBias)), 2, 1) as [Tensor, Tensor];
}
