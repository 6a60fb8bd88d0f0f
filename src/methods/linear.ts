/**
 * Linear probing: the backbone stays as it is, only the classifier trains.
 * Alain and Bengio, Understanding intermediate layers using linear classifier probes, arXiv 1610.01644.
 */
import { z } from 'zod';
import { defineMethod } from '../peft/method';

export default defineMethod({
  title: 'Linear probing',
  summary: 'Only the classifier trains; the backbone stays frozen.',
  suggested: true,
  paper: { title: 'Understanding intermediate layers using linear classifier probes', url: 'https://arxiv.org/abs/1610.01644' },
  version: 1,
  options: z.strictObject({}),
  trains: [{ pattern: /^/, train: false }],
  identityAtStart: () => true,
});
