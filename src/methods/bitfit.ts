/**
 * BitFit: every bias of the backbone trains, LayerNorms' included; nothing is added.
 * Ben Zaken, Goldberg and Ravfogel, BitFit, arXiv 2106.10199. The study and the paper agree: (7 + m) D L + 2 D parameters.
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
  page: {
    kind: 'selection',
    equations: ['y = W x + b with b trained, for every linear layer', 'y = w * normalise(x) + b with b trained, for every LayerNorm'],
    parameters: {
      formula: 'L (7 D + m D) + 2 D',
      count: ({ depth, width, hidden, patchBias, qkvBias, preNorm }) =>
        depth * ((qkvBias ? 7 : 4) * width + hidden) + (1 + Number(patchBias) + Number(preNorm)) * width,
    },
    findings: 'In the study close to the best on natural images (83.2 against at most 83.9) with 0.1 M parameters; three to five points '
      + 'behind the adapters on structured tasks.',
    checkedAgainst: ['the study\'s code', 'PyTorch'],
  },
  trains: [{ pattern: /\.bias$/, train: true }, { pattern: /^/, train: false }],
  identityAtStart: () => true,
  interpolation: { kind: 'weights' },
});
