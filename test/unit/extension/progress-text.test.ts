import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Snapshot } from '../../../src/common/snapshot';
import { progressText } from '../../../src/extension/progress-text';
import { fakeSnapshot } from '../../fixtures/snapshot';

describe('progressText', () => {
  it('says that a run which has planned no trial yet prepares', () => {
    assert.deepEqual(progressText({ snapshot: null, preparing: null }), { short: 'preparing', long: 'preparing data and backbone', share: 0 });
  });

  it('says trial, epoch and time left, and how much of the whole is done', () => {
    const snapshot = running({ finished: 2, failed: 1, total: 5, secondsLeft: 240 }, { label: 'lora rank=8', epoch: 3, epochs: 12 });
    assert.deepEqual(progressText({ snapshot, preparing: 'Fetching timm/tiny: 3 of 20 MB' }).long, 'Fetching timm/tiny: 3 of 20 MB');
    assert.deepEqual(progressText({ snapshot, preparing: null }), {
      short: '4/5 · epoch 3/12 · 4 min left', long: 'lora rank=8, epoch 3/12 (trial 4 of 5), 4 min left', share: 0.65,
    });
  });

  it('leaves out what is not known yet', () => {
    const snapshot = running({ finished: 0, failed: 0, total: 5, secondsLeft: null }, { label: 'linear', epoch: 0, epochs: 12 });
    assert.equal(progressText({ snapshot, preparing: null }).short, '1/5');
    assert.equal(progressText({ snapshot, preparing: null }).long, 'linear (trial 1 of 5)');
  });
});

/** One trial that runs with these numbers. */
function running(progress: Omit<Snapshot['progress'], 'current'>, trial: { label: string; epoch: number; epochs: number }): Snapshot {
  const snapshot = fakeSnapshot();
  return { ...snapshot, running: true, progress: { ...progress, current: trial.label }, trials: [{ ...snapshot.trials[0]!, status: 'running', ...trial }] };
}
