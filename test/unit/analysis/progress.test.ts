import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { secondsLeft } from '../../../src/analysis/progress';

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
