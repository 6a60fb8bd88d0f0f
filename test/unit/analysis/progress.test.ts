import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { secondsLeft } from '../../../src/analysis/progress';
import { trialTime } from '../../../src/analysis/snapshot-trial';
import type { TrialEvent, TrialResult } from '../../../src/common/trial';
import type { StoredAttempt } from '../../../src/store/read';

const over = (seconds: number) => ({ state: 'over' as const, fraction: 1, seconds });
const running = (fraction: number, seconds: number) => ({ state: 'running' as const, fraction, seconds });
const waiting = { state: 'waiting' as const, fraction: 0, seconds: 0 };

describe('secondsLeft', () => {
  it('is unknown while nothing has run', () => assert.equal(secondsLeft([waiting, waiting]), null));
  it('is unknown in the first moments of a trial', () => assert.equal(secondsLeft([running(0.001, 1), waiting]), null));
  it('is nothing when all is over', () => assert.equal(secondsLeft([over(10), over(12)]), 0));
  it('goes by the running trial alone at first', () => assert.equal(secondsLeft([running(0.25, 10), waiting]), 70));
  it('takes waiting trials for as long as the others', () => assert.equal(secondsLeft([over(20), running(0.5, 20), waiting]), 50));
  it('does not learn from trials that failed', () => assert.equal(secondsLeft([{ state: 'over', fraction: 0, seconds: 1 }, running(0.5, 20), waiting]), 60));
  it('shares the work among jobs', () => assert.equal(secondsLeft([running(0.5, 10), running(0.5, 10), waiting, waiting], 2), 30));
});

describe('trialTime', () => {
  const step = (number: number, seconds: number): TrialEvent =>
    ({ type: 'step', time: 1000 * seconds, step: number, totalSteps: 40, epoch: 1, epochs: 4, loss: 1, learningRate: 1e-3, imagesPerSecond: 9 });
  const attempt = (...events: TrialEvent[]) => ({ events }) as StoredAttempt;
  const result = { trainSeconds: 30, steps: 40 } as TrialResult;

  it('leaves out the night between two attempts', () => {
    const attempts = [attempt(step(1, 0), step(20, 19)), attempt(step(21, 40_000), step(40, 40_019))];
    assert.deepEqual(trialTime({ status: 'finished', result, attempts }), { state: 'over', fraction: 1, seconds: 40 });
  });

  it('takes a running trial at the pace of its latest attempt', () => {
    const attempts = [attempt(step(1, 0), step(10, 90)), attempt(step(11, 40_000), step(20, 40_009))];
    assert.deepEqual(trialTime({ status: 'running', result: null, attempts }), { state: 'running', fraction: 0.5, seconds: 20 });
  });
});
