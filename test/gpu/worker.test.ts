/** The real worker process on a GPU: a trial in f16 that is stopped and goes on, and a GPU that is none. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { openSafetensors } from '../../src/interop/safetensors';
import { trialPaths } from '../../src/store/paths';
import type { LossScale } from '../../src/train/loss-scaling';
import { engineOrSkip } from '../fixtures/engines';
import { eventsOf, exitOf, makeTinyTrial, resultOf, runWorker, type TinyTrial, type TinyTrialOptions } from '../fixtures/tiny-trial';

const settings: TinyTrialOptions = { engine: 'graph-webgpu', recipe: { epochs: 12, precision: 'f16' } };

describe('worker on graph-webgpu', () => {
  it('stopped in f16 and started again, ends with the tensors of an uninterrupted trial', async t => {
    if (process.platform === 'win32') return t.skip('Windows has no signal that can be answered');
    if (!await engineOrSkip(t, 'graph-webgpu')) return;
    const whole = await trialFor(t, settings);
    assert.equal((await runWorker(whole)).code, 0, exitOf(whole.folder)?.error);
    const tiny = await trialFor(t, settings);
    assert.equal(tiny.trial.id, whole.trial.id);
    let sent = false;
    const end = await runWorker(tiny, kill => {
      if (!sent && eventsOf(tiny.folder).some(event => event.type === 'step' && event.step >= 4)) {
        sent = true;
        kill('SIGTERM');
      }
    });
    assert.equal(end.code, 130, end.output);
    const { lossScale } = await progressOf(tiny) as { lossScale: LossScale };
    assert.ok(lossScale.skipped > 0 && lossScale.finiteSteps > 0, JSON.stringify(lossScale)); // 65536 is too much for this model
    assert.equal((await runWorker(tiny)).code, 0);
    assert.deepEqual(await adapterOf(tiny), await adapterOf(whole));
    const result = resultOf(whole.folder)!;
    assert.ok(result.last.test!.top1 > 0.5, `test accuracy ${result.last.test!.top1}`);
    assert.match(result.engines.join(), /^graph-webgpu/);
  });

  it('refuses a driver that computes on the processor, in words', async t => {
    if (process.env['PEFT_LAB_SOFTWARE_GPU'] !== '1') return t.skip('the GPU here is a real one');
    if (!await engineOrSkip(t, 'graph-webgpu')) return;
    const tiny = await trialFor(t, settings);
    process.env['PEFT_LAB_SOFTWARE_GPU'] = '0';
    t.after(() => { process.env['PEFT_LAB_SOFTWARE_GPU'] = '1'; });
    assert.equal((await runWorker(tiny)).code, 1);
    assert.match(exitOf(tiny.folder)!.error!, /engine graph-webgpu: the only adapter here is llvmpipe \(Mesa\), which computes on the processor\n.*Use the engine "graph"/);
  });
});

async function trialFor(t: TestContext, options: TinyTrialOptions): Promise<TinyTrial> {
  const tiny = await makeTinyTrial(options);
  t.after(tiny.remove);
  return tiny;
}

async function progressOf({ folder }: TinyTrial): Promise<Record<string, unknown>> {
  const file = await openSafetensors(trialPaths(folder).checkpoint);
  await file.close();
  return JSON.parse(file.metadata['progress']!) as Record<string, unknown>;
}

async function adapterOf({ folder }: TinyTrial): Promise<string[]> {
  const paths = fs.readdirSync(trialPaths(folder).adapter).filter(name => name.endsWith('.safetensors'));
  const file = await openSafetensors(`${trialPaths(folder).adapter}/${paths[0]!}`);
  const tensors = await Promise.all([...file.tensors.keys()].map(async name => `${name} ${Buffer.from((await file.read(name) as Float32Array).buffer).toString('hex')}`));
  await file.close();
  return tensors;
}
