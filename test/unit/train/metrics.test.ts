import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { computeMetrics } from '../../../src/train/metrics';
import { balancedWeights, targetFeeds } from '../../../src/train/targets';

describe('computeMetrics', () => {
  it('gives top-1, balanced accuracy, macro-F1 and loss of a small case worked by hand', () => {
    // true 0,0,0,1; predicted 0,0,1,1; class 2 occurs nowhere
    const logits = Float32Array.of(2, 0, 0, 2, 0, 0, 0, 2, 0, 0, 2, 0);
    const metrics = computeMetrics(logits, [0, 0, 0, 1], 3);
    assert.equal(metrics.top1, 0.75);
    assert.equal(metrics.balancedAccuracy, (2 / 3 + 1) / 2);
    assert.equal(metrics.macroF1, (0.8 + 2 / 3) / 2); // F1 of 0: 2*2/(3+2), of 1: 2*1/(1+2)
    const wrong = Math.log(Math.exp(2) + 2), right = wrong - 2;
    assert.ok(Math.abs(metrics.loss - (3 * right + wrong) / 4) < 1e-6);
    assert.equal(metrics.samples, 4);
  });

  it('survives logits of any size and leaves out samples without a label', () => {
    const metrics = computeMetrics(Float32Array.of(1e4, 0, 0, 1e4), [0, -1], 2);
    assert.deepEqual(metrics, { loss: 0, top1: 1, balancedAccuracy: 1, macroF1: 1, samples: 1 });
  });
});

describe('targetFeeds', () => {
  it('smooths labels as PyTorch does, and gives padding no weight', () => {
    const { targets, weights } = targetFeeds(Int32Array.of(2, 0, -1, -1), { classes: 4, labelSmoothing: 0.1, classWeights: null });
    assert.deepEqual([...targets!.data].map(x => Number(x.toFixed(6))), [0.025, 0.025, 0.925, 0.025, 0.925, 0.025, 0.025, 0.025, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual([...weights!.data], [0.5, 0.5, 0, 0]);
  });

  it('weighs classes, and the weights of a batch still sum to 1', () => {
    const classWeights = balancedWeights([0, 0, 0, 2], 3);
    assert.deepEqual(classWeights, [4 / 6, 0, 2]);
    const { weights } = targetFeeds(Int32Array.of(0, 2), { classes: 3, labelSmoothing: 0, classWeights });
    assert.deepEqual([...weights!.data], [0.25, 0.75]);
  });
});
