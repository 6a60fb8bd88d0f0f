import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { barText, watchProgress } from '../../../src/cli/progress';
import type { TrialEvent } from '../../../src/common/trial';
import type { StoredStudy } from '../../../src/store/study-store';
import { openStudyStore } from '../../../src/store/study-store';
import { openTrial } from '../../../src/store/trial-store';
import { readStore } from '../../../src/store/read';
import { fakeTrial, temporaryFolder } from '../store/fixtures';

const step = (number: number): TrialEvent => ({
  type: 'step', time: 1000 * number, step: number, totalSteps: 10, epoch: 1, epochs: 2, loss: 0.5, learningRate: 1e-3, imagesPerSecond: 80.4,
});
const epoch: TrialEvent = {
  type: 'epoch', time: 5000, epoch: 1, step: 5, train: { loss: 0.25 }, seconds: 5, imagesPerSecond: 80.4,
  test: { loss: 1, top1: 0.5, balancedAccuracy: 0.5, macroF1: 0.5, samples: 2 },
};

describe('progress', () => {
  it('shows trial, epoch, loss, speed and time left in one line of the terminal\'s width', async t => {
    const { store, attempt } = prepare(t);
    attempt.event(step(1));
    attempt.event(step(5));
    const contents = await readStore(store);
    assert.equal(barText(contents, { columns: 100, jobs: 1 }), '[1/2]  lora  ███████████████░░░░░░░░░░░░░░░  epoch 1/2  loss 0.500  80 images/s  15 s left');
    assert.equal(barText(contents, { columns: 40, jobs: 1 })!.length, 39);
    assert.equal(barText({ trials: [] }, { columns: 80, jobs: 1 }), null);
  });

  it('shows what is prepared before the first step', async t => {
    const { store, attempt } = prepare(t);
    attempt.event({ type: 'prepare', time: 1, done: 30, total: 60, what: 'train' });
    assert.match(barText(await readStore(store), { columns: 80, jobs: 1 })!, /█+░+ {2}train 30 of 60$/);
  });

  it('says each epoch once where there is no terminal', async t => {
    const { store, attempt } = prepare(t);
    const written: string[] = [];
    const progress = watchProgress({ store, jobs: 1, stream: { write: text => written.push(text) } });
    await progress.start();
    attempt.event(step(1));
    attempt.event(step(5));
    attempt.event(epoch);
    attempt.event({ type: 'warning', time: 6000, message: 'careful' });
    await progress.look();
    await progress.look();
    await progress.stop();
    assert.deepEqual(written, ['lora: epoch 1, loss 0.250, test 50.0 %, 80 images/s, 15 s left\n', 'lora: warning: careful\n']);
  });

  it('says the epochs of a trial that ended before the next look', async t => {
    const { store, attempt } = prepare(t);
    attempt.exit({ finished: 1, outcome: 'cancelled' });
    const written: string[] = [];
    const progress = watchProgress({ store, jobs: 1, stream: { write: text => written.push(text) } });
    await progress.start();
    attempt.event(epoch);
    await progress.stop();
    assert.deepEqual(written.map(line => line.slice(0, 13)), ['lora: epoch 1']);
  });

  it('rewrites one line on a terminal and leaves it clean', async t => {
    const { store, attempt } = prepare(t);
    let screen = '';
    const progress = watchProgress({ store, jobs: 1, stream: { isTTY: true, columns: 60, write: text => { screen += text; } } });
    await progress.start();
    attempt.event(step(1));
    await progress.look();
    progress.say('news');
    await progress.stop();
    assert.match(screen, /^\r\u001b\[2K\[1\/2\] {2}lora[^\n]*\r\u001b\[2Knews\n\[1\/2\][^\n]*\r\u001b\[2K$/);
  });
});

function prepare(t: Parameters<typeof temporaryFolder>[0]) {
  const store = openStudyStore(temporaryFolder(t));
  const trials = [fakeTrial(), fakeTrial({ id: 'second', method: { id: 'full', name: 'full', version: 1, options: {} } })];
  const [folder] = trials.map(trial => store.writeTrial(trial));
  store.writeStudy({ name: 's', trials: trials.map(trial => trial.id) } as StoredStudy);
  return { store: store.folder, attempt: openTrial(folder!).openAttempt({ engine: 'cpu', threads: 1, versions: {}, resumedFromStep: 0 }) };
}
