import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { answersOf } from '../../../src/analysis/answers';
import { confusion, mistakeLimit } from '../../../src/analysis/confusion';
import { overlap } from '../../../src/analysis/overlap';

const pathOf = (sample: string) => `${sample}.png`;

/** Answers with the given predictions, each as sure as its number says. */
function answering(predictions: readonly number[], { labels, samples = labels.map((_, i) => `s${i}`), sureness = [] }: {
  labels: readonly number[]; samples?: readonly string[]; sureness?: readonly number[];
}) {
  const logits = predictions.flatMap((p, i) => [0, 1, 2].map(c => c === p ? sureness[i] ?? 1 : 0));
  return answersOf({ classes: 3, samples, labels, logits });
}

describe('confusion', () => {
  it('counts by true class and predicted class', () => {
    const { matrix } = confusion(answering([0, 1, 1, 2], { labels: [0, 0, 1, 0] }), { split: 'test', pathOf });
    assert.deepEqual(matrix, [[1, 1, 1], [0, 1, 0], [0, 0, 0]]);
  });

  it('lists mistakes surest first, with their files', () => {
    const { mistakes } = confusion(answering([1, 2, 0], { labels: [0, 0, 0], sureness: [1, 3, 1] }), { split: 'test', pathOf });
    assert.deepEqual(mistakes.map(m => [m.path, m.label, m.predicted]), [['s1.png', 0, 2], ['s0.png', 0, 1]]);
    assert.ok(Math.abs(mistakes[0]!.confidence - Math.exp(3) / (Math.exp(3) + 2)) < 1e-4);
  });

  it('keeps no more than the limit', () => {
    const labels = new Array<number>(mistakeLimit + 5).fill(0);
    assert.equal(confusion(answering(labels.map(() => 1), { labels }), { split: 'test', pathOf }).mistakes.length, mistakeLimit);
  });
});

describe('overlap', () => {
  const labels = [0, 0, 0, 0, 0];
  const a = answering([0, 1, 0, 1, 1], { labels });
  const b = answering([0, 0, 2, 1, 2], { labels });

  it('sorts samples by who is wrong', () => {
    const { samples, bothRight, onlyAWrong, onlyBWrong, bothWrong, sameMistake, examples } = overlap(a, b, { a: 'A', b: 'B', split: 'test', pathOf });
    assert.deepEqual({ samples, bothRight, onlyAWrong, onlyBWrong, bothWrong, sameMistake }, { samples: 5, bothRight: 1, onlyAWrong: 1, onlyBWrong: 1, bothWrong: 2, sameMistake: 1 });
    assert.deepEqual(examples.onlyBWrong, [{ sample: 's2', path: 's2.png', label: 0, predictedA: 0, predictedB: 2 }]);
  });

  it('joins by sample, whatever the order', () => {
    const shuffled = answering([2, 1, 2, 0, 0], { labels, samples: ['s4', 's3', 's2', 's1', 's0'] });
    assert.deepEqual(overlap(a, shuffled, { a: 'A', b: 'B', split: 'test', pathOf }), overlap(a, b, { a: 'A', b: 'B', split: 'test', pathOf }));
  });

  it('compares only what both answered', () => {
    const part = answering([1], { labels: [0], samples: ['s1'] });
    const { samples, bothWrong } = overlap(a, part, { a: 'A', b: 'B', split: 'test', pathOf });
    assert.deepEqual([samples, bothWrong], [1, 1]);
  });

  it('lets the surer one decide in the ensemble', () => {
    const sure = answering([0, 1], { labels: [0, 0], sureness: [5, 1] });
    const unsure = answering([1, 0], { labels: [0, 0], sureness: [1, 0.5] });
    assert.equal(overlap(sure, unsure, { a: 'A', b: 'B', split: 'test', pathOf }).ensembleTop1, 0.5);
  });

  it('of nothing in common is all zero', () => {
    const other = answering([0], { labels: [0], samples: ['elsewhere'] });
    const { samples, ensembleTop1 } = overlap(a, other, { a: 'A', b: 'B', split: 'test', pathOf });
    assert.deepEqual([samples, ensembleTop1], [0, 0]);
  });
});
