/** What an evaluation says, from logits and labels. All but the loss are shares between 0 and 1. */
import { argmax } from '../common/argmax';
import type { Metrics } from '../common/trial';

/** logits [samples, classes] row-major; samples with label -1 are left out. */
export function computeMetrics(logits: Float32Array, labels: ArrayLike<number>, classes: number): Metrics {
  const confusion = new Float64Array(classes * classes); // rows true, columns predicted
  let loss = 0, samples = 0;
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!;
    if (label < 0) continue;
    const row = logits.subarray(i * classes, (i + 1) * classes);
    confusion[label * classes + argmax(row)]! += 1;
    loss += crossEntropyOf(row, label);
    samples++;
  }
  return { loss: samples ? loss / samples : 0, ...summarize(confusion, classes, samples), samples };
}

function crossEntropyOf(logits: Float32Array, label: number): number {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - largest);
  return Math.log(sum) + largest - logits[label]!;
}

/** Balanced accuracy and macro-F1 over the classes that occur among the labels (macro-F1: or the predictions). */
function summarize(confusion: Float64Array, classes: number, samples: number): Pick<Metrics, 'top1' | 'balancedAccuracy' | 'macroF1'> {
  const recalls: number[] = [], scores: number[] = [];
  let right = 0;
  for (let k = 0; k < classes; k++) {
    let actual = 0, predicted = 0;
    for (let j = 0; j < classes; j++) {
      actual += confusion[k * classes + j]!;
      predicted += confusion[j * classes + k]!;
    }
    const hit = confusion[k * classes + k]!;
    right += hit;
    if (actual) recalls.push(hit / actual);
    if (actual + predicted) scores.push(2 * hit / (actual + predicted));
  }
  return { top1: samples ? right / samples : 0, balancedAccuracy: mean(recalls), macroF1: mean(scores) };
}

function mean(values: readonly number[]): number {
  return values.length ? values.reduce((a, b) => a + b, 0) / values.length : 0;
}
