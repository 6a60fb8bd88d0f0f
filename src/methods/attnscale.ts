/**
 * AttnScale: learned factors of the attention scores before the softmax. Basu et al., Strong Baselines for
 * Parameter-Efficient Few-Shot Fine-Tuning, arXiv 2304.01917.
 *
 *   Attention = softmax(S * (Q K^T / sqrt(d))) V,   S = 1 at the start
 *
 * S has an element for each pair of tokens, of one's own for each head (per-head, L H N^2 parameters) or one for all heads of a
 * block (shared, L N^2), or is a number for each head (scalar, L H). The paper's text leaves open which; per-head is the default.
 * S belongs to the image's own tokens; scores of tokens that another method adds are left alone.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { scaleRows } from '../peft/scaling';
import { defineMethod, type FoldInput, type HookContext } from '../peft/method';
import { gridSide, linearPath } from '../vit/architecture';

const options = z.strictObject({
  granularity: z.enum(['per-head', 'shared', 'scalar']).default('per-head')
    .describe('per-head: a factor for each pair of tokens and each head; shared: the same for all heads of a block; scalar: one number a head.')
    .meta({ search: ['per-head', 'shared', 'scalar'] }),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'AttnScale',
  summary: 'Learned factors of the attention scores.',
  paper: { title: 'Strong Baselines for Parameter Efficient Few-Shot Fine-tuning', url: 'https://arxiv.org/abs/2304.01917' },
  version: 1,
  options,
  page: {
    kind: 'scaling',
    equations: ['softmax(S * (Q K^T / sqrt(d))) V'],
    parameters: {
      formula: 'per-head L H N^2; shared L N^2; scalar L H',
      count: (architecture, options) => architecture.depth * shapeOf(architecture, options).reduce((a, b) => a * b, 1),
    },
    findings: 'Not in the study. Its paper finds it, with residual offsets (dra), best for self-supervised backbones with few examples.',
    checkedAgainst: ['the formula\'s golden values', 'PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: (architecture, options) => Array.from({ length: architecture.depth }, (_, block) => ({
    name: tensorName(block), shape: shapeOf(architecture, options), initial: { kind: 'constant', value: 1 } as const, neutral: 1,
  })),
  identityAtStart: () => true,
  act: { attentionScores: scaleScores },
  fold,
  interpolation: { kind: 'parameters' },
});

/** scores [batch * heads, queries, keys]; the image's tokens are the first of both. */
function scaleScores(scores: Tensor, context: HookContext<Options>): Tensor {
  const { architecture: { heads }, batch, block, options: { granularity }, tensor } = context;
  const [groups, queries, keys] = scores.shape as [number, number, number];
  const factors = tensor(tensorName(block));
  if (granularity === 'scalar') {
    return tf.reshape(tf.mul(tf.reshape(scores, [batch, heads, queries * keys]), tf.reshape(factors, [1, heads, 1])), scores.shape);
  }
  const [count, tokens] = factors.shape as [number, number, number];
  const padded = queries === tokens && keys === tokens ? factors : tf.pad(factors, [[0, 0], [0, queries - tokens], [0, keys - tokens]], 1);
  const rows = groups / count; // [batch, heads * queries * keys], or [batch * heads, queries * keys]
  return tf.reshape(tf.mul(tf.reshape(scores, [rows, count * queries * keys]), tf.reshape(padded, [1, count * queries * keys])), scores.shape);
}

/** One number a head: its queries' rows of W_q and b_q take it. */
function fold({ architecture, base, trained }: FoldInput, { granularity }: Options): Record<string, Float32Array> | string {
  if (granularity !== 'scalar') return 'a factor for each pair of tokens is no change of a weight';
  const { depth, width, heads, qkvBias } = architecture;
  return Object.fromEntries(Array.from({ length: depth }, (_, block) => {
    const factors = new Float32Array(3 * width).fill(1);
    trained(tensorName(block)).forEach((factor, head) => factors.fill(factor, head * width / heads, (head + 1) * width / heads));
    return (qkvBias ? ['weight', 'bias'] : ['weight']).map(kind => {
      const name = `${linearPath('qkv', block)}.${kind}`;
      return [name, scaleRows(base(name), factors)] as const;
    });
  }).flat());
}

function shapeOf(architecture: Architecture, { granularity }: Options): number[] {
  const tokens = 1 + gridSide(architecture) ** 2;
  switch (granularity) {
    case 'per-head': return [architecture.heads, tokens, tokens];
    case 'shared': return [1, tokens, tokens];
    case 'scalar': return [architecture.heads];
    default: return granularity satisfies never;
  }
}

function tensorName(block: number): string {
  return `blocks.${block}.attn.attnscale`;
}
