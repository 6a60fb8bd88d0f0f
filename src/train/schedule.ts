/** Learning rate by optimiser step. Formulas as in timm's CosineLRScheduler without warm-up prefix (study.md 2.1). */
import type { ResolvedRecipe } from '../common/trial';

export type ScheduleSettings = Pick<ResolvedRecipe, 'schedule' | 'learningRate' | 'warmupEpochs' | 'warmupLearningRate' | 'minimumLearningRate'>;

export interface ScheduleLength {
  stepsPerEpoch: number;
  /** Epochs of the whole training; a fraction where it is given in steps. */
  epochs: number;
}

/** `step` counts from 0 over all epochs. */
export function learningRateAt(step: number, settings: ScheduleSettings, { stepsPerEpoch, epochs }: ScheduleLength): number {
  switch (settings.schedule) {
    case 'cosine': return cosine(step / stepsPerEpoch, settings, epochs);
    // The study's code steps its scheduler behind each epoch, with that epoch's number: one epoch late.
    case 'cosine-study': return cosine(Math.max(Math.floor(step / stepsPerEpoch) - 1, 0), settings, epochs);
    case 'constant': return settings.learningRate;
    default: return settings.schedule satisfies never;
  }
}

/** Linear warm-up, then half a cosine over `epochs` (the warm-up counts): `time` in epochs. */
function cosine(time: number, { learningRate, warmupEpochs, warmupLearningRate, minimumLearningRate }: ScheduleSettings, epochs: number): number {
  if (time < warmupEpochs) return warmupLearningRate + time * (learningRate - warmupLearningRate) / warmupEpochs;
  return minimumLearningRate + 0.5 * (learningRate - minimumLearningRate) * (1 + Math.cos(Math.PI * time / epochs));
}
