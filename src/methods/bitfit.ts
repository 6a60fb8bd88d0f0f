/**
 * BitFit: every bias of the backbone trains, LayerNorms' included; nothing is added.
 * Ben Zaken, Goldberg and Ravfogel, BitFit, arXiv 2106.10199. For a ViT: (7 + m) D L + 2 D parameters, m the MLP ratio.
 */
import { z } from 'zod';
import { defineMethod } from '../peft/method';

export default defineMethod({
  title: 'BitFit',
  summary: 'Only the biases of the backbone train.',
  suggested: true,
  paper: { title: 'BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models', url: 'https://arxiv.org/abs/2106.10199' },
  version: 1,
  options: z.strictObject({}),
  trains: [{ pattern: /\.bias$/, train: true }, { pattern: /^/, train: false }],
  identityAtStart: () => true,
});
