import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { answersOf } from '../../../src/analysis/answers';
import { argmax } from '../../../src/common/argmax';

describe('answersOf', () => {
  it('takes the softmax of each row and its largest column', () => {
    const answers = answersOf({ classes: 2, samples: ['a', 'b'], labels: [0, 0], logits: [Math.log(3), 0, 0, Math.log(4)] });
    assert.deepEqual([...answers.predicted], [0, 1]);
    [0.75, 0.25, 0.2, 0.8].forEach((p, i) => assert.ok(Math.abs(answers.probabilities[i]! - p) < 1e-6));
  });

  it('does not overflow', () => {
    const { probabilities } = answersOf({ classes: 2, samples: ['a'], labels: [0], logits: [50_000, 0] });
    assert.deepEqual([...probabilities], [1, 0]);
  });

  it('leaves out samples without a label', () => {
    const answers = answersOf({ classes: 2, samples: ['a', 'b', 'c'], labels: [-1, 1, 2], logits: [1, 0, 0, 1, 1, 0] });
    assert.deepEqual(answers.samples, ['b']);
    assert.deepEqual([...answers.predicted], [1]);
    assert.equal(answers.probabilities.length, 2);
  });
});

describe('argmax', () => {
  it('takes the first of equals, and the first of all where nothing compares', () => {
    assert.deepEqual([argmax([9, 1, 3, 3], 1, 3), argmax([1, 4, 2]), argmax([NaN, NaN])], [1, 1, 0]);
  });
});
