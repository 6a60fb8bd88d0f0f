import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { buildSnapshot } from '../../../src/analysis/snapshot';
import type { Metrics, Trial, TrialEvent, TrialResult } from '../../../src/common/trial';
import { trialPaths } from '../../../src/store/paths';
import { openStudyStore } from '../../../src/store/study-store';
import { openTrial } from '../../../src/store/trial-store';
import { fakeTrial, samples, temporaryFolder } from '../store/fixtures';

const attempt = { engine: 'cpu', threads: 1, versions: {}, resumedFromStep: 0 };
const metrics = (top1: number): Metrics => ({ loss: 1 - top1, top1, balancedAccuracy: top1, macroF1: top1, samples: 2 });
const step = (n: number, loss: number): TrialEvent =>
  ({ type: 'step', time: 1000 * n, step: n, totalSteps: 4, epoch: n > 2 ? 2 : 1, epochs: 2, loss, learningRate: 1e-3, imagesPerSecond: 50 });
const epoch = (n: number, top1: number): TrialEvent =>
  ({ type: 'epoch', time: 2000 * n, epoch: n, step: 2 * n, train: { loss: 1 }, validation: metrics(top1), test: metrics(top1 - 0.1), seconds: 3, imagesPerSecond: 50 });

function resultOf(trial: Trial, top1: number): TrialResult {
  const score = { epoch: 2, trainLoss: 0.1, validation: metrics(top1), test: metrics(top1) };
  return {
    trial: trial.id, finished: 9000, engines: ['cpu'], bitReproducible: true, steps: 4, epochs: 2, trainSeconds: 6, imagesPerSecond: 51, peakMemoryMiB: 100,
    last: score, best: { ...score, epoch: 1 }, selection: { split: 'validation', metric: 'top1', keptEpoch: 2 }, extra: {}, parameters: trial.parameters,
    skippedImages: [{ path: 'x/bad.png', reason: 'empty' }], classCounts: {}, warnings: ['a warning'],
  };
}

/** A store with the given trials planned, in a folder that goes away after the test. */
function storeWith(t: TestContext, trials: readonly Trial[]) {
  const folder = path.join(temporaryFolder(t), 'flowers.peft');
  const store = openStudyStore(folder);
  store.writeStudy({
    name: 'flowers', file: '/flowers.peft.json', study: {} as never, trials: trials.map(x => x.id), warnings: ['careful'], environment: {}, gitCommit: null, updated: 5,
    dataSets: [{ name: 'shapes', root: '/data', fingerprint: 'd00', classes: ['x', 'y'], classCounts: { test: [1, 1] } }],
  });
  store.writeSamples('d00', samples);
  return { folder, open: trials.map(trial => openTrial(store.writeTrial(trial))) };
}

/** Runs to the end, with these answers on the two test pictures. */
async function finish(trial: ReturnType<typeof openTrial>, [b, c]: [number, number]): Promise<void> {
  const writer = trial.openAttempt(attempt);
  writer.event(step(1, 2));
  const logits = Float32Array.from([b, c].flatMap(answer => [0, 1].map(k => k === answer ? 2 : 0)));
  await trial.writePredictions('test', { logits, samples: samples.filter(s => s.split === 'test') });
  writer.exit({ finished: 9000, outcome: 'done' });
  trial.writeResult(resultOf(trial.trial, (Number(b === 0) + Number(c === 1)) / 2));
}

const trials = ['linear', 'lora', 'bitfit', 'ln'].map((id, i) => fakeTrial({ id: `${i}`.repeat(12), method: { id, name: id, version: 1, options: {} } }));

describe('buildSnapshot', () => {
  it('of no store is empty', async t => {
    const snapshot = await buildSnapshot(path.join(temporaryFolder(t), 'nothing.peft'));
    assert.deepEqual([snapshot.study.name, snapshot.trials, snapshot.running], ['nothing', [], false]);
  });

  it('shows planned trials as queued', async t => {
    const { folder } = storeWith(t, trials);
    const snapshot = await buildSnapshot(folder);
    assert.deepEqual(snapshot.trials.map(x => x.status), ['queued', 'queued', 'queued', 'queued']);
    assert.deepEqual(snapshot.progress, { finished: 0, failed: 0, total: 4, secondsLeft: null, current: null });
    assert.deepEqual([snapshot.warnings, snapshot.dataSets[0]!.classes], [['careful'], ['x', 'y']]);
  });

  it('follows a running trial', async t => {
    const { folder, open } = storeWith(t, trials);
    const writer = open[1]!.openAttempt(attempt);
    [step(1, 2), step(2, 1.5), epoch(1, 0.9), step(3, 1), epoch(2, 0.8)].forEach(e => writer.event(e));
    const running = (await buildSnapshot(folder)).trials[1]!;
    assert.deepEqual([running.status, running.epoch, running.epochs, running.engine], ['running', 2, 2, 'cpu']);
    assert.deepEqual(running.lossCurve, [{ step: 1, loss: 2 }, { step: 2, loss: 1.5 }, { step: 3, loss: 1 }]);
    assert.deepEqual([running.validation?.top1, running.bestEpoch, running.bestValidation?.top1, running.imagesPerSecond], [0.8, 1, 0.9, 50]);
    assert.deepEqual(running.accuracyCurve.map(p => p.validation), [0.9, 0.8]);
  });

  it('says what a running trial does before its first step', async t => {
    const { folder, open } = storeWith(t, trials);
    const writer = open[0]!.openAttempt(attempt);
    const phase = async (event: TrialEvent) => { writer.event(event); return (await buildSnapshot(folder)).trials[0]!.phase; };
    assert.equal(await phase({ type: 'prepare', time: 1, done: 3, total: 8, what: 'train' }), 'reading images, 3 of 8');
    assert.equal(await phase({ type: 'phase', time: 2, phase: 'training' }), undefined);
    assert.equal(await phase({ type: 'phase', time: 3, phase: 'evaluating' }), 'evaluating');
  });

  it('tells what the backbone assumed once, not for every trial', async t => {
    const { backbone } = fakeTrial();
    const assumed = trials.map(trial => ({ ...trial, backbone: { ...backbone, warnings: ['a warning'] } }));
    const { folder, open } = storeWith(t, assumed);
    await finish(open[0]!, [0, 1]);
    const snapshot = await buildSnapshot(folder);
    assert.deepEqual(snapshot.warnings, ['careful', 'a warning']);
    assert.ok(!snapshot.trials[0]!.warnings.includes('a warning'));
  });

  it('shows a failed trial with its error', async t => {
    const { folder, open } = storeWith(t, trials);
    open[0]!.openAttempt(attempt).exit({ finished: 1, outcome: 'failed', error: 'out of memory' });
    const snapshot = await buildSnapshot(folder);
    assert.deepEqual([snapshot.trials[0]!.status, snapshot.trials[0]!.error, snapshot.progress.failed], ['failed', 'out of memory', 1]);
  });

  it('compares finished trials', async t => {
    const { folder, open } = storeWith(t, trials);
    await finish(open[0]!, [0, 1]);
    await finish(open[1]!, [1, 1]);
    const { trials: shown, overlaps } = await buildSnapshot(folder);
    assert.deepEqual(shown[1]!.confusion, {
      split: 'test', matrix: [[0, 1], [0, 1]],
      mistakes: [{ sample: 'b', path: 'x/b.png', label: 0, predicted: 1, confidence: 0.8808 }],
    });
    assert.deepEqual(overlaps.map(o => [o.a, o.b, o.samples, o.bothRight, o.onlyBWrong]), [['000000000000', '111111111111', 2, 1, 1]]);
    assert.equal(overlaps[0]!.examples.onlyBWrong[0]!.path, 'x/b.png');
    assert.ok(shown[0]!.warnings.includes('a warning') && shown[0]!.warnings.some(w => w.includes('1 unreadable image was skipped, first x/bad.png')));
  });

  it('does not read a finished trial twice, and does when it changes', async t => {
    const { folder, open } = storeWith(t, trials);
    await finish(open[0]!, [0, 1]);
    const before = await buildSnapshot(folder);
    assert.equal((await buildSnapshot(folder)).trials[0], before.trials[0]);
    const { predictions } = trialPaths(open[0]!.folder);
    await open[0]!.writePredictions('test', { logits: Float32Array.from([0, 1, 0, 1]), samples: samples.filter(s => s.split === 'test') });
    fs.utimesSync(predictions('test'), new Date(), new Date(Date.now() + 5000)); // file systems with coarse times
    assert.deepEqual((await buildSnapshot(folder)).trials[0]!.confusion?.matrix, [[0, 1], [0, 1]]);
  });

  it('shows the rest when predictions are broken', async t => {
    const { folder, open } = storeWith(t, trials);
    await finish(open[0]!, [0, 1]);
    await finish(open[1]!, [0, 1]);
    fs.writeFileSync(trialPaths(open[1]!.folder).predictions('test'), 'torn');
    const { trials: shown, overlaps } = await buildSnapshot(folder);
    assert.deepEqual([shown[0]!.confusion !== null, shown[1]!.confusion, overlaps.length], [true, null, 0]);
    assert.ok(shown[1]!.warnings.some(w => w.startsWith('Its predictions cannot be read')));
  });
});
