/** Engines that die, in real processes: the command line, its worker and its probes, built with engines that can be told to. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it, type TestContext } from 'node:test';
import type { Attempt, AttemptExit, TrialResult } from '../../src/common/trial';
import { loadAdapter } from '../../src/peft/adapter';
import { readJson, writeJson } from '../../src/store/files';
import { attemptPaths, storePaths, trialPaths } from '../../src/store/paths';
import { callMortal } from '../fixtures/mortal-build';
import { makeTinyStudy } from '../fixtures/tiny-study';

type Mortals = Record<string, string>;

/** What trials share that are no probe's business: engines are probed once for all of them. */
const shared = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-failover-'));
after(() => fs.rmSync(shared, { recursive: true, force: true, maxRetries: 10 }));

describe('a trial whose engine dies', () => {
  const deaths: Record<string, RegExp> = {
    'fault@5': /crashed \(SIGSEGV\)/, 'abort@5': /crashed \(SIGABRT\)/, 'error@5': /graph lost its device/, 'device memory@5': /not enough memory/,
  };
  for (const [fate, words] of Object.entries(deaths)) {
    it(`by ${fate} goes on with the next engine from its checkpoint, and the result says so`, async t => {
      if (process.platform === 'win32' && /fault|abort/.test(fate)) return t.skip('Windows has no such signals');
      const { run, result, attempt, exit } = await setUp(t);
      const end = await run({ graph: fate });
      assert.equal(end.code, 0, end.stderr);
      assert.match(end.stderr, /the engine graph failed, another one goes on/);
      const { engines, failedEngines, bitReproducible, steps, warnings } = result();
      assert.deepEqual(engines.map(label => label.split(',')[0]), ['graph', 'wasm']);
      assert.deepEqual(failedEngines!.map(({ engine }) => engine), ['graph']);
      assert.match(failedEngines![0]!.why, words);
      assert.match(warnings.join('\n'), /graph failed .*wasm took its place/);
      assert.deepEqual([bitReproducible, steps], [false, 9]);
      assert.deepEqual([exit(1).engineFailed, exit(1).outcome, exit(2).outcome], ['graph', 'failed', 'done']);
      assert.deepEqual([attempt(1).resumedFromStep, attempt(2).resumedFromStep], [0, 3]);
      assert.match(attempt(2).choice!.find(({ engine }) => engine === 'graph')!.why, /it failed in this trial/);
    });
  }

  it('before its first checkpoint begins anew on the next one', async t => {
    const { run, result, attempt } = await setUp(t);
    assert.equal((await run({ graph: 'no opening', wasm: 'error@2' })).code, 0);
    const { engines, failedEngines, bitReproducible } = result();
    assert.deepEqual(engines.map(label => label.split(',')[0]), ['cpu']);
    assert.deepEqual(failedEngines!.map(({ engine }) => engine), ['graph', 'wasm']);
    assert.deepEqual([bitReproducible, attempt(3).resumedFromStep], [false, 0]);
  });

  it('with every engine is failed and says how each ended; run again, it begins with the first one', async t => {
    const { run, result, exit } = await setUp(t);
    const end = await run({ graph: 'error@5', wasm: 'error@2', cpu: 'error@2' });
    assert.equal(end.code, 1);
    assert.match(exit(4).error!, /no engine works on this machine[^]*graph: it failed in this trial: .*graph lost its device[^]*cpu: it failed in this trial/);
    assert.equal((await run({})).code, 0);
    const { engines, failedEngines } = result();
    assert.deepEqual(engines.map(label => label.split(',')[0]), ['graph']);
    assert.deepEqual(failedEngines!.map(({ engine }) => engine), ['graph'], 'it computed a part of what is there');
  });

  it('that the study names is failed: no other one is wanted', async t => {
    const { run, exit, attempts } = await setUp(t, { engine: 'graph' });
    const end = await run({ graph: 'error@2' });
    assert.equal(end.code, 1);
    assert.match(exit(1).error!, /graph lost its device/);
    assert.equal(attempts().length, 1);
  });

  it('for want of the host\'s memory is failed: the next one would have no more', async t => {
    const { run, exit, attempts } = await setUp(t);
    assert.equal((await run({ graph: 'host memory@2' })).code, 1);
    assert.match(exit(1).error!, /not enough memory/);
    assert.equal(exit(1).engineFailed, undefined);
    assert.equal(attempts().length, 1);
  });
});

describe('the parity certificate', () => {
  const certificateOf = async (trial: () => ReturnType<typeof trialPaths>) => (await loadAdapter(trial().adapter)).manifest.certificate;

  it('is measured in f32 where the engine trained in another precision, and can take no second one', async t => {
    const { run, trial } = await setUp(t, { engine: 'wasm', recipe: { ...recipe, epochs: 1, precision: 'f16' } });
    assert.equal((await run({ wasm: 'one precision' })).code, 0);
    assert.equal((await certificateOf(trial))?.engine, 'graph');
  });

  it('that cannot be measured costs a warning, in the engine\'s own words', async t => {
    const { run, result, trial } = await setUp(t, { engine: 'wasm', recipe: { ...recipe, epochs: 1 } });
    assert.equal((await run({ wasm: 'no certificate' })).code, 0);
    assert.equal(await certificateOf(trial), null);
    assert.match(result().warnings.join(), /could not be measured: wasm does not certify/);
  });
});

describe('the probe', () => {
  it('removes engines that crash, hang or compute wrong gradients, and the attempt tells of it', async t => {
    const { run, result, attempt } = await setUp(t, {}, path.join(shared, t.name));
    const end = await run({ graph: 'probe crashes', wasm: 'probe is wrong' });
    assert.equal(end.code, 0, end.stderr);
    assert.deepEqual(result().engines.map(label => label.split(',')[0]), ['cpu']);
    assert.ok(result().bitReproducible);
    const choice = Object.fromEntries(attempt(1).choice!.map(({ engine, why }) => [engine, why]));
    if (process.platform !== 'win32') assert.match(choice['graph']!, /it crashed \(SIGSEGV\)/);
    assert.match(choice['wasm']!, /its gradients are off by [\d.]+e-[23]/);
    assert.match(choice['cpu']!, /^the fastest: [\d.]+ ms a step/);
  });

  it('removes engines whose gradients are no numbers', async t => {
    const { run, result, attempt } = await setUp(t, {}, path.join(shared, t.name));
    assert.equal((await run({ graph: 'probe is NaN' })).code, 0);
    assert.deepEqual(result().engines.map(label => label.split(',')[0]), ['wasm']);
    assert.match(attempt(1).choice!.find(({ engine }) => engine === 'graph')!.why, /its gradient of [\w.]+ is not finite/);
  });

  it('ends one that hangs at the time limit', async t => {
    const { run, attempt } = await setUp(t, {}, path.join(shared, t.name));
    assert.equal((await run({ graph: 'probe hangs' }, '6')).code, 0);
    assert.match(attempt(1).choice!.find(({ engine }) => engine === 'graph')!.why, /did not come to an end within 6 s/);
  });

  it('keeps its verdict for this shape, and measures another one', async t => {
    const study = await setUp(t, {}, path.join(shared, t.name));
    assert.equal((await study.run({})).code, 0);
    const [first, ...more] = study.verdicts();
    assert.equal(more.length, 0);
    const { mtimeMs } = fs.statSync(first!);
    study.write({ methods: ['ln'] });
    assert.equal((await study.run({ graph: 'probe crashes' })).code, 0, 'it is not probed again');
    assert.deepEqual([study.verdicts(), fs.statSync(first!).mtimeMs], [[first], mtimeMs]);
    const verdict = readJson(first!) as { made: number };
    writeJson(first!, { ...verdict, made: verdict.made - 25 * 3600_000 }); // a day later: some engines had said that they cannot run here
    study.write({ methods: ['bitfit'] });
    assert.equal((await study.run({})).code, 0);
    assert.ok((readJson(first!) as typeof verdict).made > verdict.made, 'it was measured again');
    study.write({ backbone: { file: 'tiny.safetensors', architecture: { heads: 4 } } });
    assert.equal((await study.run({})).code, 0);
    assert.equal(study.verdicts().length, 2);
  });
});

const recipe = { epochs: 3, batchSize: 8, warmupEpochs: 0, learningRate: 0.01, normalization: '0.5' };

async function setUp(t: TestContext, changes: Record<string, unknown> = {}, cache = shared) {
  const study = await makeTinyStudy(t);
  const write = (more: Record<string, unknown>) => study.write({
    methods: [{ method: 'lora', options: { rank: 2 } }], engine: 'auto',
    recipe, ...changes, ...more,
  });
  write({});
  const trial = () => trialPaths(storePaths(study.store).trial(fs.readdirSync(storePaths(study.store).trials)[0]!));
  const attemptFiles = (number: number) => attemptPaths(trial().attempt(number));
  return {
    write, trial,
    run: (mortals: Mortals, seconds?: string) => callMortal(['run', 'tiny.peft.json'], { root: study.root, mortals, cache, ...seconds && { seconds } }),
    result: () => readJson(trial().result) as TrialResult,
    attempt: (number: number) => readJson(attemptFiles(number).attempt) as Attempt,
    exit: (number: number) => readJson(attemptFiles(number).exit) as AttemptExit,
    attempts: () => fs.readdirSync(trial().attempts),
    verdicts: () => fs.readdirSync(path.join(cache, 'engines')).map(name => path.join(cache, 'engines', name)),
  };
}
