import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { TrialEvent, TrialResult } from '../../../src/common/trial';
import { storeFolder, trialPaths } from '../../../src/store/paths';
import { readPredictions } from '../../../src/store/predictions';
import { readStore } from '../../../src/store/read';
import { openStudyStore, type StoredStudy } from '../../../src/store/study-store';
import { nextAttempt, openTrial } from '../../../src/store/trial-store';
import { fakeTrial, samples, temporaryFolder } from './fixtures';

const attempt = { engine: 'cpu', threads: 1, versions: {}, resumedFromStep: 0 };
const step: TrialEvent = { type: 'step', time: 1, step: 1, totalSteps: 2, epoch: 0, epochs: 1, loss: 2, learningRate: 1e-3, imagesPerSecond: 9 };

describe('store', () => {
  it('lies beside the study file, or where the study says', () => {
    assert.equal(storeFolder('/a/b/flowers.peft.json'), path.resolve('/a/b/flowers.peft'));
    assert.equal(storeFolder('/a/b/flowers.peft.json', '../out'), path.resolve('/a/out'));
  });

  it('carries a trial from the plan to its result', async t => {
    const { store, folder } = prepare(t);
    assert.equal((await readStore(store.folder)).trials[0]?.status, 'queued');
    const open = openTrial(folder);
    assert.deepEqual(await open.samples(), samples);
    const writer = open.openAttempt(attempt);
    writer.event(step);
    const running = await readStore(store.folder);
    assert.equal(running.trials[0]?.status, 'running');
    assert.deepEqual(running.trials[0]?.events, [step]);

    writer.event({ ...step, step: 2 });
    await open.writePredictions('test', { logits: Float32Array.of(0.5, -1, 2, 3), samples: samples.slice(1) });
    open.writeResult({ trial: open.trial.id, finished: 5 } as TrialResult);
    writer.exit({ finished: 5, outcome: 'done' });
    const done = (await readStore(store.folder)).trials[0]!;
    assert.equal(done.status, 'finished');
    assert.deepEqual(done.events.map(e => e.type === 'step' && e.step), [1, 2]);
    assert.notEqual(done.version, running.trials[0]!.version);
    assert.equal(done.version, (await readStore(store.folder)).trials[0]!.version);
    assert.ok(store.isFinished(open.trial.id));
  });

  it('joins predictions with samples by their lines', async t => {
    const { store, folder } = prepare(t);
    await openTrial(folder).writePredictions('test', { logits: Float32Array.of(0.5, -1, 2, 3), samples: samples.slice(1) });
    const [trial] = (await readStore(store.folder)).trials;
    assert.deepEqual(trial!.predictions.map(p => p.split), ['test']);
    const predictions = await readPredictions(trial!.predictions[0]!.file);
    assert.deepEqual(predictions, { logits: Float32Array.of(0.5, -1, 2, 3), labels: Int32Array.of(0, 1), rows: Int32Array.of(1, 2), classes: 2 });
  });

  it('keeps the slash of extra test sets out of file names', async t => {
    const { store, folder } = prepare(t);
    const extra = [{ id: 'z', path: 'z.png', label: 1, split: 'extra/new camera' }];
    await openTrial(folder).writePredictions('extra/new camera', { logits: new Float32Array(2), samples: extra });
    assert.deepEqual((await readStore(store.folder)).trials[0]!.predictions.map(p => p.split), ['extra/new camera']);
  });

  it('gives attempts the folder that the launcher prepared, else the next number', t => {
    const { folder } = prepare(t);
    const { attempts } = trialPaths(folder);
    fs.mkdirSync(path.join(attempts, '1'), { recursive: true }); // for the worker's log
    assert.equal(nextAttempt(attempts), 1);
    assert.equal(openTrial(folder).openAttempt(attempt).number, 1);
    assert.equal(openTrial(folder).openAttempt(attempt).number, 2);
    assert.equal(nextAttempt(attempts), 3);
  });

  it('tells failed, cancelled and interrupted trials apart', async t => {
    const { store, folder } = prepare(t);
    const open = openTrial(folder);
    const status = async () => (await readStore(store.folder)).trials[0]!.status;
    open.openAttempt(attempt).exit({ finished: 1, outcome: 'failed', error: 'no' });
    assert.equal(await status(), 'failed');
    open.openAttempt(attempt).exit({ finished: 1, outcome: 'cancelled' });
    assert.equal(await status(), 'cancelled');
    const { folder: last } = open.openAttempt(attempt);
    assert.equal(await status(), 'running');
    const file = path.join(last, 'attempt.json');
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(`"pid": ${process.pid}`, '"pid": 999999999'));
    assert.equal(await status(), 'interrupted');
  });

  it('survives torn and foreign files', async t => {
    const { store, folder } = prepare(t);
    const writer = openTrial(folder).openAttempt(attempt);
    writer.event(step);
    fs.appendFileSync(path.join(writer.folder, 'events.jsonl'), '{"type":"st');
    fs.writeFileSync(path.join(writer.folder, 'exit.json'), '{');
    fs.mkdirSync(path.join(store.folder, 'trials/unreadable'), { recursive: true });
    fs.writeFileSync(path.join(store.folder, 'trials/stray.txt'), '');
    const contents = await readStore(store.folder);
    assert.deepEqual(contents.trials[0]!.events, [step]);
    assert.equal(contents.trials.length, 1);
  });

  it('is empty where there is none', async t => {
    const contents = await readStore(path.join(temporaryFolder(t), 'none.peft'));
    assert.deepEqual([contents.study, contents.trials, contents.launcher], [null, [], null]);
  });
});

function prepare(t: TestContext) {
  const store = openStudyStore(path.join(temporaryFolder(t), 'study.peft'));
  const trial = fakeTrial();
  const folder = store.writeTrial(trial);
  store.writeSamples(trial.data.fingerprint, samples);
  store.writeStudy({ name: 'study', trials: [trial.id] } as unknown as StoredStudy);
  return { store, folder };
}
