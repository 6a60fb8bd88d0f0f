/** The real worker process: what it leaves behind when it finishes, is killed, cancelled, or fails. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openSafetensors, writeSafetensors } from '../../src/interop/safetensors';
import { loadAdapter } from '../../src/peft/adapter';
import { readPredictions } from '../../src/store/predictions';
import { attemptPaths, trialPaths } from '../../src/store/paths';
import { requestCancel } from '../../src/store/requests';
import { openTrial } from '../../src/store/trial-store';
import { readCheckpoint } from '../../src/train/checkpoint';
import { engineIds, engineOrSkip } from '../fixtures/engines';
import '../fixtures/quick-xla';
import { eventsOf, exitOf, makeTinyTrial, resultOf, runWorker, runWorkerOnFullDisk, type TinyTrial, type TinyTrialOptions } from '../fixtures/tiny-trial';

describe('worker', () => {
  it('leaves result, adapter, predictions and events of a finished trial', async t => {
    const tiny = await trialFor(t);
    const leftover = `${trialPaths(tiny.folder).checkpoint}.1234.tmp`;
    fs.writeFileSync(leftover, 'of a worker that was killed while it wrote');
    const end = await runWorker(tiny);
    assert.ok(!fs.existsSync(leftover));
    assert.deepEqual([end.code, end.signal], [0, null], end.output);
    const result = resultOf(tiny.folder)!;
    assert.equal(exitOf(tiny.folder)?.outcome, 'done');
    assert.equal(result.steps, 12); // 18 images in batches of 8, four times
    assert.equal(result.epochs, 4);
    assert.ok(result.last.test!.top1 > 0.5, `test accuracy ${result.last.test!.top1}`);
    assert.deepEqual(result.classCounts, { train: [6, 6, 6], validation: [2, 2, 2], test: [2, 2, 2] });
    assert.ok(result.bitReproducible && result.imagesPerSecond > 0 && result.peakMemoryMiB > 10);
    assert.ok(!fs.existsSync(trialPaths(tiny.folder).checkpoint), 'a finished trial needs no checkpoint');
    const adapter = await loadAdapter(trialPaths(tiny.folder).adapter);
    assert.equal(adapter.manifest.backbone.fingerprint, tiny.trial.backbone.fingerprint);
    const { images, reload, merge, unmerge, largestLogit } = adapter.manifest.certificate!;
    assert.deepEqual([images, reload], [6, 0]);
    assert.ok(largestLogit > 0.1 && merge! > 0 && merge! < 1e-5 && unmerge! < 1e-5, `merge ${merge}, unmerge ${unmerge} of ${largestLogit}`);
    const test = await readPredictions(trialPaths(tiny.folder).predictions('test'));
    assert.equal(test.labels.length, 6);
    const right = [...test.labels].filter((label, i) => label === argmax(test.logits.subarray(3 * i, 3 * i + 3))).length;
    assert.equal(right / 6, result.last.test!.top1);
    const events = eventsOf(tiny.folder);
    assert.equal(events.filter(({ type }) => type === 'step').length, 12);
    assert.equal(events.filter(({ type }) => type === 'epoch').length, 4);
  });

  for (const engineId of engineIds) {
    it(`killed at any moment on ${engineId}, ends with the bits of an uninterrupted trial`, async t => {
      if (!(await engineOrSkip(t, engineId))) return;
      const settings: TinyTrialOptions = { engine: engineId, recipe: { epochs: 12, selection: { metric: 'top1', epoch: 'best' } } };
      const whole = await trialFor(t, settings);
      assert.equal((await runWorker(whole)).code, 0);
      const killed = await trialFor(t, settings);
      assert.equal(killed.trial.id, whole.trial.id);
      const kills = await killUntilFinished(killed);
      assert.ok(kills >= 2, `killed only ${kills} times`);
      assert.deepEqual(fingerprints(killed), fingerprints(whole));
      const [a, b] = [resultOf(killed.folder)!, resultOf(whole.folder)!];
      assert.deepEqual([a.last, a.best, a.selection, a.steps], [b.last, b.best, b.selection, b.steps]);
    });
  }

  it('answers SIGTERM with a checkpoint and exit code 130, and goes on from there', async t => {
    if (process.platform === 'win32') return t.skip('Windows has no signal that can be answered');
    const options: TinyTrialOptions = { recipe: { epochs: 20 }, memory: { images: 4, recompute: 'off' } };
    const whole = await trialFor(t, options);
    await runWorker(whole);
    const tiny = await trialFor(t, options);
    let sent = false;
    const end = await runWorker(tiny, kill => {
      if (!sent && stepsDone(tiny) >= 4) {
        sent = true;
        kill('SIGTERM');
      }
    });
    assert.equal(end.code, 130, end.output);
    assert.equal(exitOf(tiny.folder)?.outcome, 'cancelled');
    const checkpoint = await readCheckpoint(trialPaths(tiny.folder).checkpoint, tiny.trial.id);
    assert.equal(checkpoint!.engine.parts!.images, 4);
    assert.deepEqual(Object.keys(checkpoint!.state).filter(name => name.startsWith('sum/')), [], 'each step begins its sums anew');
    assert.equal((await runWorker(tiny)).code, 0);
    assert.ok(eventsOf(tiny.folder).some(event => event.type === 'resumed' && event.step >= 4));
    assert.deepEqual(fingerprints(tiny), fingerprints(whole));
  });

  it('says when a trial goes on on another engine, and that its bits are then its own', async t => {
    if (process.platform === 'win32') return t.skip('Windows has no signal that can be answered');
    const tiny = await trialFor(t, { engine: 'wasm', recipe: { epochs: 20 } });
    await runWorker(tiny, kill => { if (fs.existsSync(trialPaths(tiny.folder).checkpoint)) kill('SIGTERM'); });
    fs.writeFileSync(trialPaths(tiny.folder).trial, JSON.stringify({ ...tiny.trial, engine: 'cpu' }));
    assert.equal((await runWorker(tiny)).code, 0);
    const { bitReproducible, engines, warnings } = resultOf(tiny.folder)!;
    assert.equal(bitReproducible, false);
    assert.deepEqual(engines.map(engine => engine.split(',')[0]), ['wasm', 'cpu']);
    assert.match(warnings.join(), /computed on wasm, and this attempt uses cpu/);
  });

  it('answers a cancel request file in the same way', async t => {
    const tiny = await trialFor(t, { recipe: { epochs: 2000 } });
    let asked = false;
    const end = await runWorker(tiny, () => {
      if (!asked && stepsDone(tiny) >= 2) {
        asked = true;
        requestCancel(tiny.folder);
      }
    });
    assert.equal(end.code, 130, end.output);
    assert.equal(exitOf(tiny.folder)?.outcome, 'cancelled');
    assert.ok(fs.existsSync(trialPaths(tiny.folder).checkpoint));
  });

  it('stops at a loss that is not finite, with the step and the last finite values', async t => {
    const tiny = await trialFor(t, { method: 'full', recipe: { learningRate: 1e30, warmupEpochs: 0, schedule: 'constant', weightDecay: 0 } });
    const end = await runWorker(tiny);
    assert.equal(end.code, 1);
    const { error, errorIsUserError } = exitOf(tiny.folder)!;
    assert.match(error!, /the loss became (NaN|-?Infinity) at step \d+ with learning rate 1.000e\+30; the last finite loss was [\d.e+-]+ at step \d+/);
    assert.equal(errorIsUserError, true);
    assert.equal(resultOf(tiny.folder), null);
  });

  it('keeps the best epoch where the recipe says so, and says which split chose it', async t => {
    const tiny = await trialFor(t, { recipe: { epochs: 6, learningRate: 0.3, schedule: 'constant', warmupEpochs: 0, selection: { metric: 'macro-f1', epoch: 'best' } } });
    assert.equal((await runWorker(tiny)).code, 0);
    const { best, last, selection } = resultOf(tiny.folder)!;
    assert.deepEqual(selection, { split: 'validation', metric: 'macro-f1', keptEpoch: best.epoch });
    assert.equal(last.epoch, 6);
    const test = await readPredictions(trialPaths(tiny.folder).predictions('test'));
    const right = [...test.labels].filter((label, i) => label === argmax(test.logits.subarray(3 * i, 3 * i + 3))).length;
    assert.equal(right / 6, best.test!.top1, 'the predictions are those of the kept epoch');
  });

  it('stops early when the validation metric no longer grows', async t => {
    const tiny = await trialFor(t, { method: 'linear', recipe: { epochs: 50, learningRate: 1e-9, schedule: 'constant', earlyStopping: { patience: 3 } } });
    assert.equal((await runWorker(tiny)).code, 0);
    assert.equal(resultOf(tiny.folder)!.epochs, 4);
  });

  it('trains on train and validation, and then evaluates the test split only', async t => {
    const tiny = await trialFor(t, { recipe: { trainOn: 'train+validation', steps: 5 } });
    assert.equal((await runWorker(tiny)).code, 0);
    const result = resultOf(tiny.folder)!;
    assert.deepEqual([result.steps, result.epochs, result.selection.split], [5, 2, 'test']); // three steps make an epoch of 24 images
    assert.deepEqual(Object.keys(result.classCounts), ['train', 'test']);
    assert.deepEqual(result.classCounts['train'], [8, 8, 8]);
    assert.equal(result.last.validation, undefined);
  });

  it('evaluates extra test sets, and skips and counts bad images where the study says so', async t => {
    const tiny = await trialFor(t, { onBadImage: 'skip', evaluation: { extra: [{ name: 'more', path: 'more', format: 'auto', split: 'test' }] } });
    const bad = (await openTrial(tiny.folder).samples()).find(({ split }) => split === 'train')!.path;
    fs.writeFileSync(path.join(tiny.trial.data.root, bad), 'no image');
    assert.equal((await runWorker(tiny)).code, 0);
    const { extra, skippedImages, classCounts, warnings } = resultOf(tiny.folder)!;
    assert.equal(extra['more']!.samples, 6);
    assert.equal((await readPredictions(trialPaths(tiny.folder).predictions('extra/more'))).labels.length, 6);
    assert.deepEqual(skippedImages.map(image => image.path), [bad]);
    assert.equal(classCounts['train']!.reduce((a, b) => a + b), 17);
    assert.match(warnings.join(), /1 image was skipped/);
  });

  it('starts from an adapter, and refuses one of another method', async t => {
    const first = await trialFor(t);
    assert.equal((await runWorker(first)).code, 0);
    const init = trialPaths(first.folder).adapter;
    const second = await trialFor(t, { recipe: { init, learningRate: 1e-12, steps: 1, warmupEpochs: 0 } });
    assert.equal((await runWorker(second)).code, 0);
    assert.ok(Math.abs(resultOf(second.folder)!.last.test!.loss - resultOf(first.folder)!.last.test!.loss) < 1e-5);
    assert.ok(resultOf(second.folder)!.imagesPerSecond > 0, 'of the only step');
    fs.rmSync(trialPaths(second.folder).result);
    fs.writeFileSync(trialPaths(second.folder).trial, JSON.stringify({ ...second.trial, data: { ...second.trial.data, classes: ['a', 'b', 'c'] } }));
    assert.equal((await runWorker(second)).code, 0);
    assert.match(resultOf(second.folder)!.warnings.join(), /knows other classes than this data set: the head starts anew/);
    const third = await trialFor(t, { method: 'bitfit', recipe: { init } });
    assert.equal((await runWorker(third)).code, 1);
    assert.match(exitOf(third.folder)!.error!, /it holds lora .*; the trial trains bitfit/);
  });

  it('names a corrupt image, and a backbone that changed', async t => {
    const corrupt = await trialFor(t);
    fs.writeFileSync(path.join(corrupt.root, 'images/grey/3.png'), 'no image');
    assert.equal((await runWorker(corrupt)).code, 1);
    assert.match(exitOf(corrupt.folder)!.error!, /grey[/\\]3\.png/);
    const changed = await trialFor(t);
    const opened = await openSafetensors(changed.trial.backbone.file);
    const tensors: Parameters<typeof writeSafetensors>[1] = {};
    for (const [name, { shape }] of opened.tensors) tensors[name] = { shape, data: (await opened.read(name)).map(x => x * 1.5) };
    await opened.close();
    await writeSafetensors(changed.trial.backbone.file, tensors);
    assert.equal((await runWorker(changed)).code, 1);
    assert.match(exitOf(changed.folder)!.error!, /the backbone changed since the study was started/);
  });

  it('ends clearly when the disk is full, with the last checkpoint intact', async t => {
    if (process.platform === 'win32') return t.skip('Windows cannot limit a file\'s size');
    const tiny = await trialFor(t, { method: 'full', recipe: { epochs: 20 } });
    const { checkpoint } = trialPaths(tiny.folder);
    await runWorker(tiny, kill => { if (fs.existsSync(checkpoint)) kill('SIGKILL'); });
    const before = fs.readFileSync(checkpoint);
    const end = await runWorkerOnFullDisk(tiny, 60); // less than the checkpoint, more than everything else
    assert.equal(end.code, 1, end.output);
    assert.match(exitOf(tiny.folder)!.error!, /the disk is full\n.*Free some space/);
    assert.deepEqual(fs.readFileSync(checkpoint), before);
    assert.deepEqual(fs.readdirSync(tiny.folder).filter(name => name.endsWith('.tmp')), []);
    assert.equal((await runWorker(tiny)).code, 0);
  });

  it('ends clearly when there is not enough memory', async t => {
    const tiny = await trialFor(t, { recipe: { batchSize: 100_000_000 } });
    assert.equal((await runWorker(tiny)).code, 1);
    assert.match(exitOf(tiny.folder)!.error!, /there is not enough memory .*\n.*Choose a smaller recipe\.batchSize/);
  });

  it('beats while a step computes', async t => {
    const tiny = await trialFor(t, { recipe: { epochs: 3000 } });
    const file = attemptPaths(trialPaths(tiny.folder).attempt(1)).heartbeat;
    const beats = new Set<number>();
    await runWorker(tiny, kill => {
      const beat = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
      if (beat !== undefined) beats.add(beat);
      if (beats.size >= 3) kill('SIGKILL');
    });
    assert.ok(beats.size >= 3);
  });

  it('beats while it tries engines', async t => {
    const tiny = await trialFor(t, { engine: 'auto' });
    const files = attemptPaths(trialPaths(tiny.folder).attempt(1));
    fs.mkdirSync(path.dirname(files.heartbeat), { recursive: true }); // as the launcher does
    let hasBeaten = false;
    await runWorker(tiny, kill => {
      hasBeaten ||= fs.existsSync(files.heartbeat) && !fs.existsSync(files.attempt);
      if (hasBeaten || fs.existsSync(files.attempt)) kill('SIGKILL');
    });
    assert.ok(hasBeaten);
  });
});

async function trialFor(t: TestContext, options: TinyTrialOptions = {}): Promise<TinyTrial> {
  const tiny = await makeTinyTrial(options);
  t.after(tiny.remove);
  return tiny;
}

/** Kills the worker a pseudo-random while after its first event, again and again, but lets it get further each time. */
async function killUntilFinished(tiny: TinyTrial): Promise<number> {
  for (let kills = 0; ; kills++) {
    assert.ok(kills < 40, 'the trial never finishes');
    const before = eventsOf(tiny.folder).length;
    const patience = kills < 6 ? 4 + (kills * 7) % 23 : Infinity;
    const end = await runWorker(tiny, kill => { if (eventsOf(tiny.folder).length >= before + patience) kill('SIGKILL'); });
    if (end.code === 0) return kills;
    assert.equal(end.signal ?? (process.platform === 'win32' ? 'SIGKILL' : null), 'SIGKILL', end.output);
  }
}

function stepsDone({ folder }: TinyTrial): number {
  return eventsOf(folder).filter(({ type }) => type === 'step').length;
}

/** Of everything a trial produces in numbers. */
function fingerprints({ folder }: TinyTrial): Record<string, string> {
  const { adapter, predictions } = trialPaths(folder);
  const files = { adapter: path.join(adapter, 'adapter.safetensors'), validation: predictions('validation'), test: predictions('test') };
  return Object.fromEntries(Object.entries(files).map(([name, file]) => [name, createHash('sha256').update(fs.readFileSync(file)).digest('hex')]));
}

function argmax(values: Float32Array): number {
  return values.indexOf(Math.max(...values));
}
