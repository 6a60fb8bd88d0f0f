/**
 * LayerNorm tuning: scale and shift of every LayerNorm train, the final one and CLIP's first one included.
 * Basu et al., Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning, arXiv 2304.01917. 4 D L + 2 D parameters.
 */
import { z } from 'zod';
import { defineMethod } from '../peft/method';

export default defineMethod({
  title: 'LayerNorm tuning',
  summary: 'Only scale and shift of the LayerNorms train.',
  paper: { title: 'Strong Baselines for Parameter Efficient Few-Shot Fine-tuning', url: 'https://arxiv.org/abs/2304.01917' },
  version: 1,
  options: z.strictObject({}),
  trains: [{ pattern: /(^|\.)norm(_pre|1|2)?\.(weight|bias)$/, train: true }, { pattern: /^/, train: false }],
  identityAtStart: () => true,
});
