/**
 * DRA, domain residual adapters: a learned offset behind the attention and behind the MLP of every block. From eTT (Xu et al.,
 * TMLR 2022), as used by Basu et al., Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning, arXiv 2304.01917.
 *
 *   h <- h + Attention(LayerNorm(h)) + d_a,   h <- h + MLP(LayerNorm(h)) + d_f,   d = 0 at the start
 *
 * 2 L D parameters. The offsets fold into the biases of the attention's projection and of fc2: the method is tuning those two
 * biases, which it names by what they do. Made to go with scaled attention scores, as a combination.
 */
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { defineMethod, type Branch } from '../peft/method';
import { linearPath } from '../vit/architecture';

const places = [{ branch: 'attention', site: 'proj' }, { branch: 'mlp', site: 'fc2' }] as const;

export default defineMethod({
  title: 'DRA',
  summary: 'A learned offset behind the attention and the MLP of every block.',
  paper: { title: 'Strong Baselines for Parameter Efficient Few-Shot Fine-tuning', url: 'https://arxiv.org/abs/2304.01917' },
  version: 1,
  options: z.strictObject({}),
  page: {
    kind: 'selection',
    equations: ['h <- h + Attention(LayerNorm(h)) + d_a', 'h <- h + MLP(LayerNorm(h)) + d_f'],
    parameters: { formula: '2 L D', count: ({ depth, width }) => 2 * depth * width },
    findings: 'Not in the study. With scaled attention scores its paper finds it best for self-supervised backbones with few examples.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  tensors: ({ depth, width }) => Array.from({ length: depth }, (_, block) => places.map(({ branch }) => ({
    name: tensorName(block, branch), shape: [width], initial: { kind: 'constant', value: 0 } as const, neutral: 0,
  }))).flat(),
  identityAtStart: () => true,
  act: {
    linearOutput(y, _, site, { block, tensor }) {
      const place = places.find(p => p.site === site);
      return place ? tf.add(y, tensor(tensorName(block, place.branch))) : y;
    },
  },
  /** b' = b + d. */
  fold: ({ architecture: { depth }, base, trained }) => Object.fromEntries(Array.from({ length: depth }, (_, block) => places.map(({ branch, site }) => {
    const name = `${linearPath(site, block)}.bias`, offset = trained(tensorName(block, branch));
    return [name, base(name).map((value, i) => value + offset[i]!)] as const;
  })).flat()),
  interpolation: { kind: 'weights' },
});

function tensorName(block: number, branch: Branch): string {
  return `blocks.${block}.dra.${branch}`;
}
