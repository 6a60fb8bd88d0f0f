import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Snapshot, TrialStatus } from '../../../src/common/snapshot';
import { describeEnd } from '../../../src/extension/end-text';
import { fakeSnapshot } from '../../fixtures/snapshot';

const started = 1000;
const asked = { started, cancelled: false, logTail: 'peft-lab run: data/ has no images' };

describe('describeEnd', () => {
  it('gives the launcher\'s last words when it planned nothing', () => {
    assert.deepEqual(describeEnd({ ...asked, snapshot: null }), { severity: 'error', message: 'peft-lab run: data/ has no images' });
  });

  it('does not take an earlier run\'s results for this one\'s', () => {
    assert.equal(describeEnd({ ...asked, snapshot: ended(['finished', 'finished'], started - 1) }).severity, 'error');
  });

  it('says that all is done', () => {
    assert.deepEqual(describeEnd({ ...asked, snapshot: ended(['finished', 'finished']) }), { severity: 'info', message: 'all 2 trials finished' });
  });

  it('names the first trial that failed and why', () => {
    assert.match(describeEnd({ ...asked, snapshot: ended(['finished', 'failed']) }).message, /^1 of 2 trials failed: .+: the loss is not finite$/);
  });

  it('tells a run that was stopped from one that died', () => {
    assert.match(describeEnd({ ...asked, cancelled: true, snapshot: ended(['finished', 'cancelled', 'queued']) }).message, /^stopped after 1 of 3/);
    assert.equal(describeEnd({ ...asked, snapshot: ended(['finished', 'interrupted', 'queued']) }).severity, 'warning');
    assert.deepEqual(describeEnd({ ...asked, cancelled: true, snapshot: null }), { severity: 'info', message: 'stopped before its first trial' });
  });
});

function ended(statuses: TrialStatus[], updated = started + 1): Snapshot {
  const snapshot = fakeSnapshot();
  const count = (status: TrialStatus) => statuses.filter(s => s === status).length;
  return {
    ...snapshot, updated, running: false,
    progress: { finished: count('finished'), failed: count('failed'), total: statuses.length, secondsLeft: null, current: null },
    trials: statuses.map((status, i) => ({ ...snapshot.trials[i]!, status, error: status === 'failed' ? 'the loss is not finite\n  at step 3' : null })),
  };
}
