import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Snapshot, TrialStatus } from '../../../src/common/snapshot';
import { describeEnd } from '../../../src/extension/end-text';
import { fakeSnapshot } from '../../fixtures/snapshot';

const started = 1000;
const asked = { started, cancelled: false, log: '2 trials.\n' };
const refused = { ...asked, log: 'Warning: small images\npeft-lab run: data/: there are no images\n  Put some there.\n' };

describe('describeEnd', () => {
  it('gives the launcher\'s error on one line when it planned nothing', () => {
    assert.deepEqual(describeEnd({ ...refused, snapshot: null }), { severity: 'error', message: 'data/: there are no images. Put some there.' });
    const message = (log: string) => describeEnd({ ...asked, log, snapshot: null }).message;
    assert.equal(message('peft-lab run: the study file has 2 problems\na:1:2 x\na:3:4 y\n'), 'the study file has 2 problems. a:1:2 x. a:3:4 y');
    assert.equal(message('peft-lab run: TypeError: no such thing\n    at readAll (cli.cjs:1:2)\n    at run (cli.cjs:3:4)\n'), 'TypeError: no such thing');
    assert.equal(message(`peft-lab run: ${'x'.repeat(1000)}`).length, 600);
  });

  it('gives the launcher\'s last words when they are no error', () => {
    const message = (log: string) => describeEnd({ ...asked, log, snapshot: null }).message;
    assert.equal(message('FATAL ERROR\nout of memory\n'), 'FATAL ERROR out of memory');
    assert.equal(message(''), 'the run ended before it began');
  });

  it('gives the launcher\'s error when trials were planned and none began', () => {
    const snapshot = ended(['queued', 'queued']);
    assert.deepEqual(describeEnd({ ...refused, snapshot }), { severity: 'error', message: 'data/: there are no images. Put some there.' });
    assert.match(describeEnd({ ...refused, snapshot, started: 0 }).message, /^stopped after 0 of 2 trials/, 'the log may be an older run\'s');
  });

  it('does not take an earlier run\'s results for this one\'s', () => {
    assert.equal(describeEnd({ ...asked, snapshot: ended(['finished', 'finished'], started - 1) }).severity, 'error');
  });

  it('says that all is done', () => {
    assert.deepEqual(describeEnd({ ...asked, snapshot: ended(['finished', 'finished']) }), { severity: 'info', message: 'all 2 trials finished' });
    assert.equal(describeEnd({ ...asked, snapshot: ended(['finished']) }).message, 'the trial finished');
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
