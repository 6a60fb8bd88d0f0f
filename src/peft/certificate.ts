/**
 * The parity certificate of an adapter: by how much its logits differ after it was written and read again, folded into
 * the backbone, and taken out of the backbone again. Measured by train/certify.ts; stands in the adapter's manifest.
 */
import { z } from 'zod';

const difference = z.number().nonnegative();

/** Differences are the largest |difference| of a logit over the images. */
export const certificateSchema = z.object({
  /** How many images were classified to measure it. */
  images: z.int().positive(),
  /** Where they came from: an imported adapter has no data set at hand. */
  imagesFrom: z.enum(['data set', 'random noise']),
  /** The engine that computed, in float32. */
  engine: z.string(),
  /** The largest |logit| of the adapted backbone on these images, to judge the differences by. */
  largestLogit: difference,
  /** The adapter read from its file against the tensors that were trained. */
  reload: difference,
  /** The backbone with the adapter folded in against backbone and adapter; null where the method cannot be folded. */
  merge: difference.nullable(),
  /** The backbone from which the folded change was subtracted again against the backbone as it was; null likewise. */
  unmerge: difference.nullable(),
  /** Why merge and unmerge are null. */
  cannotMerge: z.string().nullable(),
});

export type ParityCertificate = z.output<typeof certificateSchema>;
