/**
 * (IA)^3: learned vectors rescale keys, values and the MLP's hidden features. Liu et al., arXiv 2205.05638.
 *
 *   Attention = softmax(Q (l_k * K)^T / sqrt(d)) (l_v * V),   MLP = W_2 (l_ff * GELU(W_1 x)),   l = 1 at the start
 *
 * K and V are scaled with their biases, as the authors' code and Hugging Face's do. L (2 D + m D) parameters. Other layers can
 * be scaled as well: a target's output, or its input where it is among `feedforward`.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { scaleColumns, scaleRows } from '../peft/scaling';
import { defineMethod, type AttentionInputs, type FoldInput, type HookContext, type LinearSite, type TensorDeclaration } from '../peft/method';
import { hasBias, linearPath } from '../vit/architecture';

const projections = ['q', 'k', 'v'] as const, layers = ['proj', 'fc1', 'fc2'] as const;
type Target = typeof projections[number] | typeof layers[number];

const options = z.strictObject({
  targets: z.array(z.enum([...projections, ...layers])).min(1).default(['k', 'v', 'fc2']).describe('Layers that are scaled.'),
  feedforward: z.array(z.enum(layers)).default(['fc2']).describe('Targets whose input is scaled instead of their output.'),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: '(IA)^3',
  summary: 'Learned vectors rescale keys, values and the hidden features of the MLP.',
  paper: { title: 'Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning', url: 'https://arxiv.org/abs/2205.05638' },
  version: 1,
  options,
  page: {
    kind: 'scaling',
    equations: ['softmax(Q (l_k * K)^T / sqrt(d)) (l_v * V)', 'W_2 (l_ff * GELU(W_1 x))'],
    parameters: {
      formula: 'L (2 D + m D) for keys, values and the hidden features',
      count: (architecture, options) => architecture.depth * chosen(options).reduce((sum, target) => sum + features(target, architecture, options), 0),
    },
    findings: 'Not in the study. Its paper finds it the one method of theirs above full fine-tuning with few examples.',
    checkedAgainst: ['Hugging Face PEFT', 'PyTorch'],
    huggingFace: 'IA3',
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: declare,
  identityAtStart: () => true,
  act: {
    attentionInputs: (inputs, context) => Object.fromEntries(projections.map(p => [p, scaled(inputs[p], p, context)])) as unknown as AttentionInputs,
    linearInput: (x, site, context) => (isLayer(site) && scalesInput(site, context.options) ? scaled(x, site, context) : x),
    linearOutput: (y, _, site, context) => (isLayer(site) && !scalesInput(site, context.options) ? scaled(y, site, context) : y),
  },
  fold,
  interpolation: { kind: 'weights' },
});

function scaled(x: Tensor, target: Target, { options, block, tensor }: HookContext<Options>): Tensor {
  return options.targets.includes(target) ? tf.mul(x, tensor(tensorName(block, target))) : x;
}

function declare(architecture: Architecture, options: Options): TensorDeclaration[] {
  return Array.from({ length: architecture.depth }, (_, block) => chosen(options).map((target): TensorDeclaration => ({
    name: tensorName(block, target), shape: [features(target, architecture, options)], initial: { kind: 'constant', value: 1 }, neutral: 1,
  }))).flat();
}

/** Output: W' = diag(l) W, b' = l * b, for q, k and v in their third of qkv. Input: W' = W diag(l). */
function fold({ architecture, base, trained }: FoldInput, options: Options): Record<string, Float32Array> {
  const folded: Record<string, Float32Array> = {};
  for (let block = 0; block < architecture.depth; block++) {
    for (const target of chosen(options)) {
      const site = isLayer(target) ? target : 'qkv', path = linearPath(site, block), factors = trained(tensorName(block, target));
      const names = hasBias(site, architecture) && !scalesInput(target, options) ? [`${path}.weight`, `${path}.bias`] : [`${path}.weight`];
      for (const name of names) {
        const values = folded[name] ?? base(name);
        folded[name] = scalesInput(target, options) ? scaleColumns(values, factors) : scaleRows(values, isLayer(target) ? factors : thirds(factors, target));
      }
    }
  }
  return folded;
}

/** Factors of all of qkv's rows: 1 for the other two thirds. */
function thirds(factors: Float32Array, target: typeof projections[number]): Float32Array {
  const all = new Float32Array(3 * factors.length).fill(1);
  all.set(factors, projections.indexOf(target) * factors.length);
  return all;
}

function chosen({ targets }: Options): Target[] {
  return [...projections, ...layers].filter(target => targets.includes(target));
}

function features(target: Target, { width, hidden }: Architecture, options: Options): number {
  const ofHidden = target === 'fc1' ? !scalesInput(target, options) : target === 'fc2' && scalesInput(target, options);
  return ofHidden ? hidden : width;
}

function isLayer(site: Target | LinearSite): site is typeof layers[number] {
  return (layers as readonly string[]).includes(site);
}

function scalesInput(target: Target, { feedforward }: Options): boolean {
  return isLayer(target) && feedforward.includes(target);
}

function tensorName(block: number, target: Target): string {
  return `blocks.${block}.ia3.${target}`;
}
