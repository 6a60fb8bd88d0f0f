/** What a trial costs, from shapes alone. */
import { extraSplit, type Architecture, type PrefixUse, type Trial } from '../common/trial';
import { stepsPerEpoch } from '../data/batch-order';

export interface TrialCost {
  steps: number;
  /** Images trained on, over all epochs. */
  trainImages: number;
  /** Images evaluated, over all evaluations. */
  evaluatedImages: number;
  /** Floating-point operations, in tera. */
  teraFlops: number;
  /** Of these, those of training steps. */
  trainTeraFlops: number;
}

/** `classCounts`: samples per class by split; `prefix`: what is computed once, as far as it is. Early stopping is not foreseen. */
export function trialCost(
  { recipe, evaluation, backbone, parameters }: Pick<Trial, 'recipe' | 'evaluation' | 'backbone' | 'parameters'>,
  classCounts: Record<string, number[]>, prefix: Pick<PrefixUse, 'training' | 'evaluation'> = { training: 0, evaluation: 0 },
): TrialCost {
  const images = (split: string) => (classCounts[split] ?? []).reduce((sum, n) => sum + n, 0);
  const training = images('train') + (recipe.trainOn === 'train+validation' ? images('validation') : 0);
  const perEpoch = stepsPerEpoch({ samples: training, batchSize: recipe.batchSize, dropLast: recipe.dropLast });
  const steps = recipe.steps ?? recipe.epochs * perEpoch;
  const epochs = steps / Math.max(1, perEpoch);
  const trainImages = Math.round(epochs * (recipe.dropLast ? perEpoch * recipe.batchSize : training));
  const evaluatedSplits = evaluation.splits.reduce((sum, split) => sum + images(split), 0);
  const extra = evaluation.extra.reduce((sum, { name }) => sum + images(extraSplit(name)), 0);
  const evaluatedImages = Math.ceil(epochs / evaluation.everyEpochs) * evaluatedSplits + extra;
  const [whole, forward, evaluating] = [0, prefix.training, prefix.evaluation].map(stage => forwardFlops(backbone.architecture, stage)) as [number, number, number];
  // Backward: through the activations always (as much as forward), and to weights where the backbone itself trains.
  const backward = parameters.trainable === 0 ? 0 : forward * (1 + Math.min(1, parameters.trainable / parameters.backbone));
  const trainTeraFlops = trainImages * (forward + backward) / 1e12;
  const once = training * (whole - forward) + (evaluatedSplits + extra) * (whole - evaluating);
  return { steps, trainImages, evaluatedImages, teraFlops: trainTeraFlops + (evaluatedImages * evaluating + once) / 1e12, trainTeraFlops };
}

/** Multiplications and additions of one image's forward pass, from a stage on (see vit/stages.ts). */
export function forwardFlops({ imageSize, patch, width, depth, hidden }: Architecture, stage = 0): number {
  const tokens = (imageSize / patch) ** 2 + 1;
  const block = 4 * width * width + 2 * tokens * width + 2 * width * hidden; // qkv and proj, scores and mixing, MLP
  const embedding = stage === 0 ? 3 * patch * patch * width : 0;
  return 2 * tokens * (embedding + Math.max(0, depth - stage) * block);
}
