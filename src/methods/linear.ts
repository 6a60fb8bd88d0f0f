/**
 * Linear probing: the backbone stays as it is, only the classifier trains.
 * Alain and Bengio, Understanding intermediate layers using linear classifier probes, arXiv 1610.01644.
 *
 *   logits = W z + b,   z = LayerNorm(h_layer[class token]), or the mean over the patches' tokens
 *
 * The final LayerNorm is applied whichever layer is probed. The study probes the last layer's class token.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { defineMethod, type HookContext } from '../peft/method';
import { gridSide } from '../vit/architecture';
import { layerNorm } from '../vit/operations';

const options = z.strictObject({
  layer: z.int().positive().nullable().default(null).describe('Block whose output the classifier reads, 1 first; null: the last one.')
    .meta({ search: [3, 6, 9, 12] }),
  pool: z.enum(['class', 'patches']).default('class').describe('class: the class token; patches: the mean over the patches.'),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'Linear probing',
  summary: 'Only the classifier trains; the backbone stays frozen.',
  suggested: true,
  paper: { title: 'Understanding intermediate layers using linear classifier probes', url: 'https://arxiv.org/abs/1610.01644' },
  version: 1,
  options,
  page: {
    kind: 'head',
    equations: ['logits = W z + b', 'z = LayerNorm(h) of the class token behind the chosen block, or of the mean over its patches'],
    parameters: { formula: '0', count: () => 0 },
    findings: 'In the study close to the others where the images resemble those of the pre-training (flowers, pets); thirty points behind on structured tasks.',
    checkedAgainst: ['the study\'s code', 'PyTorch'],
  },
  refuses: ({ depth }, { layer }) => (layer !== null && layer > depth ? `there is no block ${layer}, it has ${depth}` : null),
  trains: [{ pattern: /^/, train: false }],
  identityAtStart: options => isPlain(options) || 'the classifier reads another layer or other tokens',
  act: {
    headInput: (x, context) => (isPlain(context.options) ? x : probed(context)),
  },
  fold: (_, options) => (isPlain(options) ? {} : 'its classifier reads no class token of the last block'),
  interpolation: options => (isPlain(options) ? { kind: 'weights' } : { refused: 'its classifier reads other features than the backbone\'s own' }),
});

function isPlain({ layer, pool }: Options): boolean {
  return layer === null && pool === 'class';
}

/** [batch, width]. */
function probed({ options: { layer, pool }, architecture, batch, tensor, activation }: HookContext<Options>): Tensor {
  const { depth, width, layerNormEpsilon } = architecture;
  const tokens = activation(`blocks.${(layer ?? depth) - 1}.output`);
  const patches = gridSide(architecture) ** 2;
  const chosen = pool === 'class'
    ? tf.slice(tokens, [0, 0], [batch, width])
    : tf.mean(tf.reshape(tf.slice(tokens, [batch, 0], [patches * batch, width]), [patches, batch, width]), 0);
  return layerNorm(chosen, tensor('norm.weight'), tensor('norm.bias'), layerNormEpsilon);
}
