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
  page: {
    kind: 'selection',
    equations: ['y = w * (x - mean(x)) / sqrt(var(x) + epsilon) + b with w and b trained, for every LayerNorm'],
    parameters: { formula: '4 D L + 2 D', count: ({ depth, width, preNorm }) => (4 * depth + (preNorm ? 4 : 2)) * width },
    findings: 'The fewest parameters of all in the study (0.04 M), and still among the best on natural images (83.5); six points behind the best on structured tasks.',
    checkedAgainst: ['PyTorch', 'Hugging Face PEFT'],
    huggingFace: 'LN_TUNING',
  },
  trains: [{ pattern: /(^|\.)norm(_pre|1|2)?\.(weight|bias)$/, train: true }, { pattern: /^/, train: false }],
  identityAtStart: () => true,
  interpolation: { kind: 'weights' },
});
