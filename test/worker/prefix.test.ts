/** Trials on a cached prefix end as those without it do, whatever happens to the cache. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Trial, TrialEvent } from '../../src/common/trial';
import { loadAdapter } from '../../src/peft/adapter';
import { attemptPaths, trialPaths } from '../../src/store/paths';
import { readLines } from '../../src/store/files';
import { readPredictions } from '../../src/store/predictions';
import { attemptNumbers } from '../../src/store/trial-store';
import { tinyArchitecture } from '../fixtures/tiny-vit';
import { engineIds, engineOrSkip } from '../fixtures/engines';
import '../fixtures/quick-xla';
import { eventsOf, makeTinyTrial, resultOf, runWorker, type TinyTrial, type TinyTrialOptions } from '../fixtures/tiny-trial';

const cached = { precision: 'f32', maxGB: 1 } as const;
const still: Partial<Trial['recipe']> = { dropPath: 0, augmentation: [] };
const whole = tinyArchitecture.depth + 1;

/** Method and recipe, with the stages at which training and evaluation start. */
const cases: { name: string; options: TinyTrialOptions; stages: [number, number] }[] = [
  { name: 'a linear probe', options: { method: 'linear', recipe: still }, stages: [whole, whole] },
  { name: 'a linear probe under drop path', options: { method: 'linear', recipe: { ...still, dropPath: 0.3 } }, stages: [1, whole] },
  { name: 'a linear probe on augmented images', options: { method: 'linear', recipe: { ...still, augmentation: ['horizontal-flip'] } }, stages: [0, whole] },
  { name: 'a method in the last block', options: { method: 'selective', options: { blocks: [1] }, recipe: still }, stages: [1, 1] },
];

describe('a cached prefix', () => {
  for (const engineId of engineIds) {
    for (const { name, options, stages } of cases) {
      it(`gives ${name} on ${engineId} the numbers of a training without it`, async t => {
        const engine = await engineOrSkip(t, engineId);
        if (!engine) return;
        const near = engine.deterministic ? 1e-5 : 1e-4; // two runs of a device may differ by themselves
        const plain = await finished(t, { ...options, engine: engineId, prefixCache: 'off' });
        const fast = await finished(t, { ...options, engine: engineId, prefixCache: cached });
        assert.equal(fast.trial.id, plain.trial.id);
        const [a, b] = [resultOf(fast.folder)!, resultOf(plain.folder)!];
        assert.deepEqual([a.prefix?.training, a.prefix?.evaluation], stages);
        assert.equal(b.prefix, undefined);
        assert.match(a.engines.join(), stages[0] ? /frozen prefix cached$/ : /cached for evaluation$/);
        assert.equal(a.bitReproducible, engine.deterministic);
        for (const split of ['validation', 'test'] as const) assert.ok(Math.abs(a.last[split]!.loss - b.last[split]!.loss) <= near * Math.abs(b.last[split]!.loss));
        assert.ok(await adapterDifference(fast, plain) <= near);
        const [p, q] = [await predictionsOf(fast), await predictionsOf(plain)];
        assert.ok(p.every((x, i) => Math.abs(x - q[i]!) <= 4e-3 * Math.max(1, Math.abs(q[i]!))), 'stored as f16, so a unit in the last place may differ');
      });
    }
  }

  it('is not there for a method that begins at the first block', async t => {
    const tiny = await finished(t, { method: 'lora', recipe: still, prefixCache: cached });
    assert.equal(resultOf(tiny.folder)!.prefix, undefined);
    assert.deepEqual(segments(tiny.root), []);
  });

  it('survives kills at any moment, and the loss of the cache between them, to the bit', async t => {
    const options: TinyTrialOptions = { method: 'selective', options: { blocks: [1] }, engine: 'wasm', recipe: { ...still, epochs: 12 }, prefixCache: cached };
    const uninterrupted = await finished(t, options);
    const killed = await trialFor(t, options);
    for (let kills = 0; kills < 4; kills++) {
      const before = eventsOf(killed.folder).length;
      await runWorker(killed, kill => { if (eventsOf(killed.folder).length >= before + 3 + 5 * kills) kill('SIGKILL'); });
      if (kills % 2) fs.rmSync(path.join(killed.root, 'cache'), { recursive: true, force: true });
    }
    assert.equal(resultOf(killed.folder), null, 'it ended before it could be killed four times');
    assert.equal((await runWorker(killed)).code, 0);
    assert.equal(await adapterDifference(killed, uninterrupted), 0);
    assert.deepEqual(resultOf(killed.folder)!.last, resultOf(uninterrupted.folder)!.last);
    assert.ok(resultOf(killed.folder)!.bitReproducible);
  });

  const damages: Record<string, (file: string) => void> = {
    'a flipped bit in a record': file => patch(file, 40),
    'a torn segment': file => fs.truncateSync(file, fs.statSync(file).size >> 1),
    'an empty segment': file => fs.truncateSync(file, 0),
    'a segment that is gone': file => fs.rmSync(file),
  };
  for (const [name, damage] of Object.entries(damages)) {
    it(`notices ${name} and computes it again`, async t => {
      const tiny = await finished(t, { method: 'linear', engine: 'wasm', recipe: still, prefixCache: cached });
      const before = (await loadAdapter(trialPaths(tiny.folder).adapter)).tensors;
      fs.rmSync(trialPaths(tiny.folder).result);
      for (const file of segments(tiny.root)) damage(file);
      assert.equal((await runWorker(tiny)).code, 0);
      assert.ok(computed(tiny) > 0);
      assert.deepEqual((await loadAdapter(trialPaths(tiny.folder).adapter)).tensors, before);
    });
  }

  it('is shared by trials that run one after the other, and by trials that run at once', async t => {
    const options = (learningRate: number): TinyTrialOptions => ({ method: 'linear', engine: 'wasm', recipe: { ...still, learningRate }, prefixCache: cached });
    const first = await trialFor(t, options(1e-2));
    const others = await Promise.all([1e-3, 2e-3, 3e-3].map(rate => trialFor(t, options(rate))));
    const inOneCache = (tiny: TinyTrial) => ({ root: first.root, folder: tiny.folder });
    const ends = await Promise.all([first, ...others.slice(0, 2)].map(tiny => runWorker(inOneCache(tiny))));
    assert.deepEqual(ends.map(end => end.code), [0, 0, 0], ends.map(end => end.output).join('\n'));
    const bytes = size(segments(first.root));
    assert.equal((await runWorker(inOneCache(others[2]!))).code, 0);
    assert.equal(computed(others[2]!), 0, 'the last one computes nothing');
    assert.equal(size(segments(first.root)), bytes);
  });

  it('says how far it is while it computes', async t => {
    const tiny = await finished(t, { method: 'linear', recipe: still, prefixCache: cached });
    const events = eventsOf(tiny.folder).filter((event): event is Extract<TrialEvent, { type: 'prepare' }> => event.type === 'prepare' && event.activity === 'features');
    assert.ok(events.length >= 2);
    assert.deepEqual(events.map(({ what, total }) => [what, total]).at(-1), ['computing features', 30]);
    assert.equal(events.at(-1)!.done, 30);
  });

  it('keeps below its bound: other prefixes give way, and what is larger than all of it is not kept', async t => {
    const bytes = 30 * tinyArchitecture.width * 4;
    const first = await finished(t, { method: 'linear', engine: 'wasm', recipe: still, prefixCache: { precision: 'f32', maxGB: bytes * 2.5 / 1e9 } });
    const [old] = segments(first.root);
    const second = await trialFor(t, { method: 'linear', engine: 'cpu', recipe: still, prefixCache: { precision: 'f32', maxGB: bytes * 2.5 / 1e9 } });
    assert.equal((await runWorker({ root: first.root, folder: second.folder })).code, 0);
    assert.ok(!fs.existsSync(old!), 'the first one\'s features were needed no more');
    const third = await finished(t, { method: 'linear', engine: 'wasm', recipe: still, prefixCache: { precision: 'f32', maxGB: 1e-9 } });
    const { prefix, warnings } = resultOf(third.folder)!;
    assert.equal(prefix, undefined);
    assert.match(warnings.join(), /more than prefixCache\.maxGB \(1e-9\): they are computed anew/);
    assert.deepEqual(segments(third.root), []);
    assert.ok(await adapterDifference(third, first) <= 1e-5);
  });

  it('in f16 takes half the room, is another trial and comes near', async t => {
    const full = await finished(t, { method: 'linear', engine: 'wasm', recipe: still, prefixCache: cached });
    const half = await finished(t, { method: 'linear', engine: 'wasm', recipe: still, prefixCache: { precision: 'f16', maxGB: 1 } });
    assert.notEqual(half.trial.id, full.trial.id);
    const difference = await adapterDifference(half, full);
    assert.ok(difference > 0 && difference < 2e-2, `differs by ${difference}`);
    assert.ok(size(segments(half.root)) < size(segments(full.root)));
  });

  it('answers a stop while it computes, and keeps what is done', async t => {
    if (process.platform === 'win32') return t.skip('Windows has no signal that can be answered');
    const tiny = await trialFor(t, { method: 'linear', engine: 'cpu', perClass: 60, recipe: still, prefixCache: cached });
    let asked = false;
    const end = await runWorker(tiny, kill => {
      if (asked || !computed(tiny)) return;
      asked = true;
      kill('SIGTERM');
    });
    if (end.code === 0) return t.skip('it was through before it could be stopped');
    assert.equal(end.code, 130, end.output);
    assert.ok(segments(tiny.root).length > 0);
    assert.equal((await runWorker(tiny)).code, 0);
  });
});

async function trialFor(t: TestContext, options: TinyTrialOptions): Promise<TinyTrial> {
  const tiny = await makeTinyTrial(options);
  t.after(tiny.remove);
  return tiny;
}

async function finished(t: TestContext, options: TinyTrialOptions): Promise<TinyTrial> {
  const tiny = await trialFor(t, options);
  const end = await runWorker(tiny);
  assert.equal(end.code, 0, end.output);
  return tiny;
}

async function adapterDifference(a: TinyTrial, b: TinyTrial): Promise<number> {
  const [own, other] = await Promise.all([a, b].map(async ({ folder }) => (await loadAdapter(trialPaths(folder).adapter)).tensors));
  return Math.max(...Object.entries(own!).flatMap(([name, { data }]) => Array.from(data, (x, i) => Math.abs(x - other![name]!.data[i]!))));
}

async function predictionsOf({ folder }: TinyTrial): Promise<Float32Array> {
  return (await readPredictions(trialPaths(folder).predictions('test'))).logits;
}

/** Images whose features the last attempt computed. */
function computed({ folder }: Pick<TinyTrial, 'folder'>): number {
  const { attempts, attempt } = trialPaths(folder);
  const events = readLines(attemptPaths(attempt(attemptNumbers(attempts).at(-1) ?? 0)).events) as TrialEvent[];
  return Math.max(0, ...events.flatMap(event => event.type === 'prepare' && event.activity === 'features' ? [event.done] : []));
}

function segments(root: string): string[] {
  const folder = path.join(root, 'cache', 'prefix');
  if (!fs.existsSync(folder)) return [];
  return fs.readdirSync(folder, { recursive: true }).map(String).filter(name => name.endsWith('.segment')).map(name => path.join(folder, name));
}

function size(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + fs.statSync(file).size, 0);
}

function patch(file: string, offset: number): void {
  const bytes = fs.readFileSync(file);
  bytes[offset]! ^= 1;
  fs.writeFileSync(file, bytes);
}
