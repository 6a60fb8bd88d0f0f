import type { Confusion, Mistake } from '../common/snapshot';
import type { Answers } from './answers';

/** How many mistakes a snapshot lists; more than anyone looks through, and small enough to send every second. */
export const mistakeLimit = 200;

/** Counts by true class (row) and predicted class (column), and the wrong answers, surest first. */
export function confusion(answers: Answers, { split, pathOf }: { split: string; pathOf: (sample: string) => string }): Confusion {
  const { classes, labels, predicted } = answers;
  const matrix = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  labels.forEach((label, i) => { matrix[label]![predicted[i]!]! += 1; });
  return { split, matrix, mistakes: surestMistakes(answers, pathOf) };
}

function surestMistakes(answers: Answers, pathOf: (sample: string) => string): Mistake[] {
  const { classes, samples, labels, predicted, probabilities } = answers;
  const confidence = (i: number) => probabilities[i * classes + predicted[i]!]!;
  const wrong = Array.from(samples.keys()).filter(i => labels[i] !== predicted[i]);
  wrong.sort((i, j) => confidence(j) - confidence(i) || i - j);
  return wrong.slice(0, mistakeLimit).map(i => ({
    sample: samples[i]!, path: pathOf(samples[i]!), label: labels[i]!, predicted: predicted[i]!,
    confidence: Math.round(confidence(i) * 1e4) / 1e4,
  }));
}
