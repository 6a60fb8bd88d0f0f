/** Targets and sample weights of a batch, made on the host so that the loss of a program is a plain weighted sum. */
import type { HostTensor, HostTensors } from '../engine/program';

export interface TargetSettings {
  classes: number;
  labelSmoothing: number;
  /** Weight of each class; null weighs all alike. */
  classWeights: readonly number[] | null;
}

/** `labels` holds -1 for padding, which gets weight 0. Weights sum to 1, as PyTorch's mean does it with class weights. */
export function targetFeeds(labels: Int32Array, { classes, labelSmoothing, classWeights }: TargetSettings): HostTensors {
  const targets = new Float32Array(labels.length * classes);
  const raw = Array.from(labels, label => (label < 0 ? 0 : classWeights?.[label] ?? 1));
  const total = raw.reduce((a, b) => a + b, 0);
  labels.forEach((label, row) => {
    if (label < 0) return;
    targets.fill(labelSmoothing / classes, row * classes, (row + 1) * classes);
    targets[row * classes + label]! += 1 - labelSmoothing;
  });
  const weights: HostTensor = { shape: [labels.length], data: Float32Array.from(raw, w => (total > 0 ? w / total : 0)) };
  return { targets: { shape: [labels.length, classes], data: targets }, weights };
}

/** n / (classes present * count): classes weigh alike as wholes; a class without samples weighs 0. */
export function balancedWeights(labels: Iterable<number>, classes: number): number[] {
  const counts = new Array<number>(classes).fill(0);
  for (const label of labels) counts[label]! += 1;
  const present = counts.filter(count => count > 0).length;
  const total = counts.reduce((a, b) => a + b, 0);
  return counts.map(count => (count ? total / (present * count) : 0));
}
