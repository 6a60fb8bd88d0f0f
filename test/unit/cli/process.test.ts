import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import type { TrialResult } from '../../../src/common/trial';
import { openSafetensors } from '../../../src/interop/safetensors';
import { readJson } from '../../../src/store/files';
import { lockHolder } from '../../../src/store/lock';
import { storePaths, trialPaths } from '../../../src/store/paths';
import { requestCancel } from '../../../src/store/requests';
import { readStoredStudy } from '../../../src/store/study-store';
import { makeTinyStudy, type TinyStudy } from '../../fixtures/tiny-study';

describe('peft-lab', () => {
  it('runs a study, keeps what is finished, repeats nothing, and reports', async t => {
    const study = await makeTinyStudy(t);
    const first = await study.call(['run', 'tiny.peft.json']);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /^images, 3 classes[^]*\nlinear +0 [^]*\nlora +\d+ [^]*Results: .*tiny\.peft\nReport: .*report\.html/);
    assert.match(first.stderr, /2 trials\.\n[^]*linear: epoch 2, loss [\d.]+, validation [\d.]+ %, test [\d.]+ %, \d+ images\/s[^]*\[1\/2\] linear on images finished: validation [\d.]+ %, test [\d.]+ %, \d+ s/);
    const before = results(study).map(r => r.finished);

    study.write({ methods: ['linear', { method: 'lora', options: { rank: { search: [2, 3] } } }] });
    const second = await study.call(['run', 'tiny.peft.json', '--json']);
    assert.equal(second.code, 0, second.stderr);
    assert.match(second.stderr, /2 of 3 trials are finished already; 1 to do/);
    const document = JSON.parse(second.stdout) as { total: number; finished: number; trials: { label: string; test: { top1: number } }[] };
    assert.deepEqual([document.total, document.finished], [3, 3]);
    assert.deepEqual(document.trials.map(trial => trial.label), ['linear', 'lora rank=2', 'lora rank=3']);
    assert.deepEqual(results(study).slice(0, 2).map(r => r.finished), before);
    assert.deepEqual(document.trials.map(trial => trial.test.top1), results(study).map(r => r.last.test!.top1));

    const report = await study.call(['report', 'tiny.peft.json', '--csv', 'out/r.csv', '--latex', 'r.tex', '--html', 'r.html', '--json']);
    assert.equal(report.code, 0, report.stderr);
    assert.equal((JSON.parse(report.stdout) as { trials: unknown[] }).trials.length, 3);
    assert.equal(fs.readFileSync(path.join(study.root, 'out/r.csv'), 'utf8').trim().split('\n').length, 4);
    assert.match(fs.readFileSync(path.join(study.root, 'r.tex'), 'utf8'), /\\toprule[^]*lora & /);
    assert.match(fs.readFileSync(path.join(study.root, 'r.html'), 'utf8'), /<html/);
    for (const place of ['images', 'out/r.csv/below']) {
      const wrong = await study.call(['report', 'tiny.peft.json', '--csv', place, '--json']);
      assert.equal(wrong.code, 2, wrong.stderr);
      assert.match((JSON.parse(wrong.stdout) as { error: { what: string } }).error.what, /^cannot write/);
    }

    const plan = await study.call(['plan', 'tiny.peft.json', '--json']);
    const planned = JSON.parse(plan.stdout) as { finished: number; predictedSeconds: number; trials: { parameters: { trainable: number } }[] };
    assert.deepEqual([planned.finished, planned.predictedSeconds, planned.trials[0]!.parameters.trainable], [3, 0, 0]);
    const search = fs.readFileSync(storePaths(study.store).search, 'utf8').trim().split('\n').map(line => JSON.parse(line) as { type: string });
    assert.deepEqual(search.map(e => e.type).sort(), ['ask', 'ask', 'ask', 'ask', 'tell', 'tell', 'tell', 'tell']);
  });

  it('starts from the adapter of a trial, and predicts with it as CSV and as tensors', async t => {
    const study = await makeTinyStudy(t);
    study.write({ methods: ['linear'] });
    assert.equal((await study.call(['run', 'tiny.peft.json'])).code, 0);
    const adapter = trialPaths(storePaths(study.store).trial(readStoredStudy(study.store)!.trials[0]!)).adapter;
    const common = ['predict', '--backbone', 'tiny.safetensors', '--adapter', adapter, '--engine', 'cpu'];

    study.write({ methods: ['linear'], recipe: { epochs: 1, batchSize: 8, warmupEpochs: 0, learningRate: 1e-6, warmupLearningRate: 0, minimumLearningRate: 0, normalization: '0.5', init: adapter } });
    const first = results(study)[0]!.last.validation!.loss;
    const continued = await study.call(['run', 'tiny.peft.json', '--jobs', '2']);
    assert.equal(continued.code, 0, continued.stderr);
    assert.ok(Math.abs(results(study)[0]!.last.validation!.loss - first) < 1e-3, 'starts from the adapter');

    const csv = await study.call([...common, '--data', path.join('images', 'dark'), '--out', 'p.csv']);
    assert.equal(csv.code, 0, csv.stderr);
    const lines = fs.readFileSync(path.join(study.root, 'p.csv'), 'utf8').trim().split('\n');
    assert.deepEqual([lines[0], lines.length], ['path,class,probability', 11]);
    assert.match(lines[1]!, /^0\.png,(dark|grey|bright),0\.\d+$/);

    fs.writeFileSync(path.join(study.root, 'images/some.txt'), 'bright/1.png 0\ndark/0.png 1\n');
    const tensors = await study.call([...common, '--data', 'images', '--split', 'some', '--out', 'p.safetensors', '--json']);
    assert.equal(tensors.code, 0, tensors.stderr);
    const file = await openSafetensors(path.join(study.root, 'p.safetensors'));
    assert.deepEqual([file.tensors.get('logits')!.shape, file.tensors.get('logits')!.dtype, file.tensors.get('labels')!.shape], [[2, 3], 'F32', [2]]);
    await file.close();
    assert.equal((JSON.parse(tensors.stdout) as { images: number }).images, 2);
  });

  it('exits with 2 and names file, line and column of every problem', async t => {
    const study = await makeTinyStudy(t);
    study.write({ methods: ['lara'], recipee: {} });
    const end = await study.call(['run', 'tiny.peft.json']);
    assert.equal(end.code, 2);
    assert.match(end.stderr, /^tiny\.peft\.json:\d+:\d+: methods\[0\]: "lara" is not allowed; did you mean "lora"\?$/m);
    assert.match(end.stderr, /^tiny\.peft\.json:\d+:\d+: unknown key "recipee"; did you mean "recipe"\?$/m);
    assert.equal(fs.existsSync(study.store), false);
  });

  it('exits with 2 when an input is missing, leaving one JSON document', async t => {
    const study = await makeTinyStudy(t);
    study.write({ backbone: { file: 'none.safetensors' } });
    const end = await study.call(['run', 'tiny.peft.json', '--json']);
    assert.equal(end.code, 2);
    assert.match((JSON.parse(end.stdout) as { error: { where: string } }).error.where, /none\.safetensors$/);
    assert.equal(lockHolder(study.store), null);
  });

  it('exits with 1 when a trial fails, and tries it again next time', async t => {
    const study = await makeTinyStudy(t);
    fs.writeFileSync(path.join(study.root, 'images/dark/0.png'), 'no image');
    const end = await study.call(['run', 'tiny.peft.json']);
    assert.equal(end.code, 1, end.stderr);
    assert.match(end.stderr, /\[1\/2\] linear on images failed: [^]*dark\/0\.png/);
    assert.match(end.stdout, /failed: linear on images/);
    study.write({ data: [{ path: 'images', onBadImage: 'skip' }], methods: ['linear'] });
    const again = await study.call(['run', 'tiny.peft.json']);
    assert.equal(again.code, 0, again.stderr);
  });

  it('checkpoints and exits with 130 on Ctrl-C and on a request, and goes on from there', { skip: process.platform === 'win32' }, async t => {
    const study = await makeTinyStudy(t);
    study.write({ methods: ['linear'], recipe: { epochs: 40, batchSize: 8, warmupEpochs: 0, normalization: '0.5' } });
    const interrupted = await study.call(['run', 'tiny.peft.json'], child => void whenTraining(study).then(() => child.kill('SIGINT')));
    assert.equal(interrupted.code, 130, interrupted.stderr);
    assert.match(interrupted.stderr, /Stopping at the next checkpoint/);
    assert.equal(lockHolder(study.store), null);
    const seen = epochs(study).length;
    assert.ok(seen > 0 && seen < 40);

    const cancelled = await study.call(['run', 'tiny.peft.json'], () => void whenTraining(study, seen).then(() => requestCancel(study.store)));
    assert.equal(cancelled.code, 130, cancelled.stderr);
    const done = await study.call(['run', 'tiny.peft.json']);
    assert.equal(done.code, 0, done.stderr);
    assert.match(done.stderr, /linear: goes on from step \d+/);
    assert.deepEqual([...new Set(epochs(study).map(e => e.epoch))].length, 40);
  });

  it('joins a worker that outlived a killed launcher', { skip: process.platform === 'win32' }, async t => {
    const study = await makeTinyStudy(t);
    study.write({ methods: ['linear'], recipe: { epochs: 60, batchSize: 8, warmupEpochs: 0, normalization: '0.5' } });
    const killed = await study.call(['run', 'tiny.peft.json'], child => void whenTraining(study).then(() => child.kill('SIGKILL')));
    assert.equal(killed.code, null);
    const again = await study.call(['run', 'tiny.peft.json']);
    assert.equal(again.code, 0, again.stderr);
    const attempts = fs.readdirSync(storePaths(study.store).trials, { recursive: true }).map(String).filter(f => f.endsWith('attempt.json'));
    assert.equal(attempts.length, 1);
  });

  it('lets only one launcher at a study', { skip: process.platform === 'win32' }, async t => {
    const study = await makeTinyStudy(t);
    study.write({ methods: ['linear'], recipe: { epochs: 400, batchSize: 8, warmupEpochs: 0, normalization: '0.5' } });
    let second: Promise<{ code: number | null; stderr: string }> | undefined;
    const first = await study.call(['run', 'tiny.peft.json'], child => void whenTraining(study).then(async () => {
      second = study.call(['run', 'tiny.peft.json']);
      await second;
      child.kill('SIGINT');
    }));
    assert.equal(first.code, 130, first.stderr);
    assert.deepEqual([(await second)!.code, /being run already/.test((await second)!.stderr)], [2, true]);
  });
});

function results({ store }: TinyStudy): TrialResult[] {
  return readStoredStudy(store)!.trials.map(id => readJson(trialPaths(storePaths(store).trial(id)).result) as TrialResult);
}

function epochs({ store }: TinyStudy): { epoch: number }[] {
  const folder = storePaths(store).trials;
  if (!fs.existsSync(folder)) return [];
  const files = fs.readdirSync(folder, { recursive: true }).map(String).filter(f => f.endsWith('events.jsonl'));
  return files.flatMap(f => fs.readFileSync(path.join(folder, f), 'utf8').split('\n').filter(line => line.includes('"type":"epoch"')).map(line => JSON.parse(line) as { epoch: number }));
}

/** Resolves once more epochs than `after` are over. */
async function whenTraining(study: TinyStudy, after = 0): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (epochs(study).length <= after) {
    if (Date.now() > deadline) throw new Error('no epoch within a minute');
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}
