/** Full fine-tuning: every parameter of the backbone trains. The yardstick, and the costliest. */
import { z } from 'zod';
import { defineMethod } from '../peft/method';
import { baseParameters } from '../vit/architecture';

export default defineMethod({
  title: 'Full fine-tuning',
  summary: 'Every parameter of the backbone trains.',
  paper: { title: 'An Image is Worth 16x16 Words', url: 'https://arxiv.org/abs/2010.11929' },
  version: 1,
  options: z.strictObject({}),
  page: {
    kind: 'whole backbone',
    equations: ['every tensor of the backbone is trained'],
    parameters: {
      formula: 'all: L (12 D^2 + 13 D) + (3 p^2 + N + 4) D for m = 4',
      count: architecture => baseParameters(architecture).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    },
    findings: 'In the study eight points behind the best parameter-efficient methods with 1,000 images a task (69.4 against 77.7 on average); '
      + 'level with them on many images far from the pre-training. With WiSE it holds the best accuracy under distribution shift for its accuracy on the task.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: true }],
  identityAtStart: () => true,
  interpolation: { kind: 'weights' },
});
