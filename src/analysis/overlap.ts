import { argmax } from '../common/argmax';
import type { Overlap, PairMistake } from '../common/snapshot';
import type { Answers } from './answers';

/** How many examples of each kind of disagreement a snapshot carries. */
export const exampleLimit = 60;

export interface OverlapOptions {
  a: string;
  b: string;
  split: string;
  pathOf: (sample: string) => string;
}

/**
 * How two trials' mistakes relate, over the samples that both answered. The ensemble is the mean of the two probability
 * vectors.
 */
export function overlap(answersA: Answers, answersB: Answers, { a, b, split, pathOf }: OverlapOptions): Overlap {
  const result: Overlap = {
    a, b, split, samples: 0, bothRight: 0, onlyAWrong: 0, onlyBWrong: 0, bothWrong: 0, sameMistake: 0, ensembleTop1: 0,
    examples: { onlyAWrong: [], onlyBWrong: [], bothWrong: [] },
  };
  let ensembleRight = 0;
  for (const [i, j] of alignedRows(answersA, answersB)) {
    result.samples++;
    if (ensembleAnswer(answersA, i, answersB, j) === answersA.labels[i]) ensembleRight++;
    count(result, pairAt({ answersA, i, answersB, j, pathOf }));
  }
  result.ensembleTop1 = result.samples ? ensembleRight / result.samples : 0;
  return result;
}

/** Row numbers in A and B of the same sample with the same label. */
function alignedRows(a: Answers, b: Answers): [number, number][] {
  const rowsOfB = new Map(b.samples.map((sample, row) => [sample, row]));
  return a.samples.flatMap((sample, i) => {
    const j = rowsOfB.get(sample);
    return j !== undefined && a.labels[i] === b.labels[j] ? [[i, j] as [number, number]] : [];
  });
}

function ensembleAnswer(a: Answers, i: number, b: Answers, j: number): number {
  const mean = Float32Array.from({ length: a.classes }, (_, c) => a.probabilities[i * a.classes + c]! + b.probabilities[j * b.classes + c]!);
  return argmax(mean);
}

function pairAt({ answersA, i, answersB, j, pathOf }: {
  answersA: Answers; i: number; answersB: Answers; j: number; pathOf: (sample: string) => string;
}): PairMistake {
  const sample = answersA.samples[i]!;
  return {
    sample, path: pathOf(sample), label: answersA.labels[i]!,
    predictedA: answersA.predicted[i]!, predictedB: answersB.predicted[j]!,
  };
}

function count(result: Overlap, pair: PairMistake): void {
  const rightA = pair.predictedA === pair.label, rightB = pair.predictedB === pair.label;
  if (rightA && rightB) {
    result.bothRight++;
    return;
  }
  const kind = rightB ? 'onlyAWrong' : rightA ? 'onlyBWrong' : 'bothWrong';
  result[kind]++;
  if (kind === 'bothWrong' && pair.predictedA === pair.predictedB) result.sameMistake++;
  if (result.examples[kind].length < exampleLimit) result.examples[kind].push(pair);
}
