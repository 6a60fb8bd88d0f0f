/** Full fine-tuning: every parameter of the backbone trains. The yardstick, and the costliest. */
import { z } from 'zod';
import { defineMethod } from '../peft/method';

export default defineMethod({
  title: 'Full fine-tuning',
  summary: 'Every parameter of the backbone trains.',
  paper: { title: 'An Image is Worth 16x16 Words', url: 'https://arxiv.org/abs/2010.11929' },
  version: 1,
  options: z.strictObject({}),
  trains: [{ pattern: /^/, train: true }],
  identityAtStart: () => true,
});
