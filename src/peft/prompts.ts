/** What learned prompts have in common: how they start, and their rows for every image. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { forEachImage } from '../vit/operations';
import type { HookContext, Initializer } from './method';

/** U(-v, v), v = sqrt(6 / (3 p^2 + D)), as Visual Prompt Tuning starts them (Jia et al., arXiv 2203.12119). */
export function promptStart({ patch, width }: Architecture): Initializer {
  return { kind: 'uniform', limit: Math.sqrt(6 / (3 * patch ** 2 + width)) };
}

export const promptDropout = z.number().min(0).lt(1).nullable().default(null)
  .describe('Dropout on the prompts; null: 0.1 in the study\'s variant, 0 in the original.');

interface PromptOptions {
  dropout: number | null;
  variant: 'study' | 'original';
}

/** [prompts, width] -> [prompts * batch, width], dropped with one mask for the batch in the study's variant, else with one for each image. */
export function promptRows(own: Tensor, { options: { dropout, variant }, batch, dropout: drop }: HookContext<PromptOptions>): Tensor {
  return variant === 'study' ? forEachImage(drop(own, dropout ?? 0.1, 'vpt'), batch) : drop(forEachImage(own, batch), dropout ?? 0, 'vpt');
}
