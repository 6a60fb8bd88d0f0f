/** What a trial decides before its first step and after its last, in the real worker: SIFT's elements, a prefix network's outcome. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { HostTensors } from '../../src/engine/program';
import { engines } from '../../src/engine/engines';
import { loadAdapter } from '../../src/peft/adapter';
import { findMethod } from '../../src/peft/registry';
import { trialPaths } from '../../src/store/paths';
import { readPredictions } from '../../src/store/predictions';
import { frozenTensors } from '../../src/train/model';
import { evaluationProgram } from '../../src/train/program';
import { engineOrSkip } from '../fixtures/engines';
import '../fixtures/quick-xla';
import { eventsOf, makeTinyTrial, resultOf, runWorker, type TinyTrial, type TinyTrialOptions } from '../fixtures/tiny-trial';
import { tinyArchitecture, tinyBackbone } from '../fixtures/tiny-vit';

describe('worker with sift', () => {
  for (const engine of ['cpu', 'graph', 'wasm'] as const) {
    it(`chooses by the first gradients on ${engine}, and a killed trial ends with the same bits`, async t => {
      if (!(await engineOrSkip(t, engine))) return;
      const settings: TinyTrialOptions = { method: 'sift', options: { rate: 0.03 }, engine, recipe: { epochs: 8 } };
      const whole = await trialFor(t, settings);
      const end = await runWorker(whole);
      assert.deepEqual([end.code, resultOf(whole.folder)?.warnings], [0, []], end.output);
      assert.ok(eventsOf(whole.folder).some(event => event.type === 'phase' && event.detail === 'gradients of the first batch'));
      const { tensors, manifest } = await loadAdapter(trialPaths(whole.folder).adapter);
      const indices = Object.entries(tensors).filter(([name]) => name.endsWith('sift.indices'));
      assert.equal(indices.length, 8);
      assert.ok(indices.every(([, { data }]) => data.some((index, i) => index !== i)), 'the first elements would be those of no gradients at all');
      assert.ok(manifest.certificate!.merge! <= 1e-6 && manifest.certificate!.reload === 0, JSON.stringify(manifest.certificate));
      const killed = await trialFor(t, settings);
      const checkpoint = trialPaths(killed.folder).checkpoint;
      for (const patience of [1, 7]) { // before the first checkpoint, and after it
        const before = eventsOf(killed.folder).length;
        await runWorker(killed, kill => { if (eventsOf(killed.folder).length >= before + patience && (patience === 1 || fs.existsSync(checkpoint))) kill('SIGKILL'); });
      }
      assert.equal((await runWorker(killed)).code, 0);
      assert.ok(adapterBytes(killed).equals(adapterBytes(whole)));
      const chosen = eventsOf(killed.folder).filter(event => event.type === 'phase' && event.detail?.startsWith('gradients'));
      assert.ok(chosen.length < 3, 'what the checkpoint holds is not decided again');
    });
  }

  it('trains in half precision, in parts and with blocks computed again', async t => {
    if (!(await engineOrSkip(t, 'graph'))) return;
    const plain = { method: 'sift', options: { rate: 0.03 }, engine: 'graph', recipe: { epochs: 8, dropPath: 0 } } as const;
    const tops = await Promise.all([plain, { ...plain, recipe: { ...plain.recipe, precision: 'f16' } } as const].map(async settings => {
      const tiny = await trialFor(t, settings);
      const trial = { ...tiny.trial, memory: { images: 3, recompute: settings === plain ? 'off' : 'blocks' } };
      fs.writeFileSync(trialPaths(tiny.folder).trial, JSON.stringify(trial));
      const end = await runWorker(tiny);
      assert.equal(end.code, 0, end.output);
      return { loss: resultOf(tiny.folder)!.last.trainLoss, tensors: (await loadAdapter(trialPaths(tiny.folder).adapter)).tensors };
    }));
    assert.ok(Math.abs(tops[0]!.loss - tops[1]!.loss) < 0.02, tops.map(({ loss }) => loss).join(' and '));
    for (const [name, { data }] of Object.entries(tops[0]!.tensors)) if (name.endsWith('indices')) assert.deepEqual(tops[1]!.tensors[name]!.data, data);
  });

  it('starts from an adapter with the elements that it has', async t => {
    const first = await trialFor(t, { method: 'sift', options: { rate: 0.03 } });
    await runWorker(first);
    const second = await trialFor(t, { method: 'sift', options: { rate: 0.03 }, recipe: { init: trialPaths(first.folder).adapter, seed: 7, epochs: 1 } });
    assert.equal((await runWorker(second)).code, 0);
    const [before, after] = await Promise.all([first, second].map(async ({ folder }) => (await loadAdapter(trialPaths(folder).adapter)).tensors));
    for (const name of Object.keys(before!)) assert.equal(name.endsWith('indices'), Buffer.from(before![name]!.data.buffer).equals(Buffer.from(after![name]!.data.buffer)), name);
    assert.ok(!eventsOf(second.folder).some(event => event.type === 'phase' && event.detail?.startsWith('gradients')));
  });
});

describe('worker with a prefix network', () => {
  it('saves the prefixes alone, which predict what the network did', async t => {
    const tiny = await trialFor(t, { method: 'kv-prefix', options: { prompts: 3, reparametrization: 4 } });
    const end = await runWorker(tiny);
    assert.equal(end.code, 0, end.output);
    const { manifest, tensors } = await loadAdapter(trialPaths(tiny.folder).adapter);
    assert.deepEqual(manifest.method.options, { prompts: 3, reparametrization: null, condense: true });
    assert.deepEqual(Object.keys(tensors).sort(), ['head.bias', 'head.weight', 'kv_prefix.key', 'kv_prefix.value']);
    assert.equal(manifest.certificate?.reload, 0);
    assert.deepEqual(resultOf(tiny.folder)!.warnings, []);
    const { logits } = await readPredictions(trialPaths(tiny.folder).predictions('test'));
    const again = await predicted(manifest.method, tensors, await testPatches(tiny));
    again.forEach((x, i) => assert.ok(Math.abs(x - logits[i]!) <= Math.abs(x) * 2 ** -11 + 1e-5, `${x} and, in half precision, ${logits[i]}`));
  });
});

/** The test split as a batch, in the order of its predictions. */
async function testPatches(tiny: TinyTrial): Promise<HostTensors[string]> {
  const { openTrialData } = await import('../../src/worker/data');
  const { openTrial } = await import('../../src/store/trial-store');
  const data = await openTrialData(tiny.trial, await openTrial(tiny.folder).samples(), () => undefined);
  try {
    for await (const { patches, columns } of data.evaluated.test!.inOrder({ batchSize: 6 })) {
      return { shape: [patches.length / columns, columns], data: patches.slice() };
    }
    throw new Error('no batch');
  } finally {
    await data.close();
  }
}

async function predicted({ id, options }: { id: string; options: Record<string, unknown> }, state: HostTensors, patches: HostTensors[string]): Promise<number[]> {
  const model = { architecture: tinyArchitecture, method: findMethod(id), options, classes: 3, batch: 6 };
  const constants = frozenTensors({ tensors: [] }, tinyBackbone());
  const session = await engines.cpu.open({ programs: { evaluate: evaluationProgram(model) }, state, constants, threads: 1 });
  try {
    return [...(await session.call('evaluate', { patches }))['logits']!.data];
  } finally {
    await session.dispose();
  }
}

function adapterBytes({ folder }: TinyTrial): Buffer {
  return fs.readFileSync(path.join(trialPaths(folder).adapter, 'adapter.safetensors'));
}

async function trialFor(t: TestContext, options: TinyTrialOptions): Promise<TinyTrial> {
  const tiny = await makeTinyTrial(options);
  t.after(tiny.remove);
  return tiny;
}
