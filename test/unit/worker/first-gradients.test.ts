/** Gradients before training: of the batches that training begins with, whatever the parts, and of the whole model. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Trial } from '../../../src/common/trial';
import type { Batch, TrainingPlan } from '../../../src/data/batches';
import { engines } from '../../../src/engine/engines';
import type { Engine, HostTensors } from '../../../src/engine/program';
import { initializeByGradients } from '../../../src/peft/initialize';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import type { AdapterTensor } from '../../../src/peft/trainable';
import { frozenTensors, initialState, prepareModel, type Model } from '../../../src/train/model';
import { gradientProgram } from '../../../src/train/program';
import { planStep } from '../../../src/train/step';
import { targetFeeds } from '../../../src/train/targets';
import type { TrialData } from '../../../src/worker/data';
import { valuesByGradients } from '../../../src/worker/first-gradients';
import { Stopped } from '../../../src/worker/stop';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../../fixtures/tiny-vit';

const classes = 3, images = 6;
const base = tinyBackbone();
const recipe = { batchSize: images, shuffle: true, dropLast: false, labelSmoothing: 0.1, classWeights: 'balanced', precision: 'f32', seed: 3 } as Trial['recipe'];

describe('valuesByGradients', () => {
  it('gives what the gradient of the first batch says', async () => {
    const model = await modelOf('sift', { rate: 0.05 });
    const expected = initializeByGradients(model.tensors, { base, seed: 3, gradients: await gradientsOf(model, [0]) });
    assert.equal(Object.keys(expected).length, 8);
    assert.deepEqual(await values(model), expected);
    assert.notDeepEqual(expected, Object.fromEntries(Object.keys(expected).map(name => [name, initialState(model, { base, seed: 3 })[name]])), 'not the first elements');
  });

  it('is the same in parts, dropout and drop path set aside, and reports what it does', async () => {
    const whole = await modelOf('sift+vqt', { sift: { rate: 0.05 }, vqt: { prompts: 2 } });
    const inParts = await prepareModel({ ...whole, batch: 4, dropout: true, dropPath: 0.3 });
    assert.ok(inParts.masks.length > 0);
    const events: unknown[] = [];
    assert.deepEqual(await values(inParts, { onEvent: ({ type, ...event }) => events.push(type === 'phase' && 'detail' in event ? event.detail : type) }), await values(whole));
    assert.deepEqual(events, ['gradients of the first batch']);
  });

  it('sums over as many batches as are asked for', async () => {
    const model = await modelOf('sift', { rate: 0.05, selectionBatches: 2 });
    const sums = initializeByGradients(model.tensors, { base, seed: 3, gradients: await gradientsOf(model, [0, 1]) });
    assert.deepEqual(await values(model), sums);
    assert.notDeepEqual(sums, await values(await modelOf('sift', { rate: 0.05 })));
  });

  it('recomputes what the steps do', async () => {
    const asked: unknown[] = [];
    const open: Engine['open'] = options => {
      asked.push(options.recompute);
      return engines.cpu.open(options);
    };
    await values(await modelOf('sift', {}), { open });
    assert.deepEqual(asked, ['attention']);
  });

  it('computes nothing where nothing is asked for, and ends when a stop is', async () => {
    const nothing = await values(await modelOf('lora', {}), { batches: () => { throw new Error('batches were read'); } });
    assert.deepEqual(nothing, {});
    await assert.rejects(values(await modelOf('sift', {}), { stopRequested: true }), Stopped);
  });
});

interface Changes { onEvent?: Parameters<typeof valuesByGradients>[0]['onEvent']; batches?: (plan: TrainingPlan) => AsyncIterableIterator<Batch>; stopRequested?: boolean; open?: Engine['open'] }

async function values(model: Model, { onEvent = () => undefined, batches = training, stopRequested = false, open = engines.cpu.open }: Changes = {}): Promise<HostTensors> {
  return valuesByGradients({
    trial: { recipe } as Trial, model, step: await planStep(model, images), recompute: 'attention', start: {}, base, state: initialState(model, { base, seed: 3 }),
    data: { train: { usable: usable(), training: batches } } as unknown as TrialData,
    engine: { engine: { ...engines.cpu, open }, threads: 1 } as Parameters<typeof valuesByGradients>[0]['engine'],
    stop: { requested: () => stopRequested, race: work => work }, onEvent,
  });
}

/** The last image of every batch is padding. */
async function* training({ firstStep, lastStep, masks }: TrainingPlan): AsyncIterableIterator<Batch> {
  assert.deepEqual([firstStep, masks], [0, []]);
  for (let step = 0; step < lastStep; step++) {
    const { patches } = tinyBatch(images, classes, tinyArchitecture, step + 1);
    yield { step, epoch: 1, count: images - 1, indices: new Int32Array(images), labels: labels(), patches: patches.data as Float32Array, columns: patches.shape[1]!, masks: {} };
    await Promise.resolve();
  }
}

function labels(): Int32Array {
  return Int32Array.from({ length: images }, (_, i) => (i === images - 1 ? -1 : i % 2));
}

function usable(): { label: number }[] {
  return Array.from({ length: 10 }, (_, i) => ({ label: i < 7 ? 0 : 1 + i % 2 }));
}

/** Of the loss summed over batches, of every weight, on the reference. */
async function gradientsOf(model: Model, steps: readonly number[]): Promise<HostTensors> {
  const asked = Object.keys(base).filter(name => /(qkv|proj|fc1|fc2)\.weight/.test(name) && !name.startsWith('patch')).map((name): AdapterTensor => ({ name, shape: base[name]!.shape, source: 'base' }));
  const session = await engines.cpu.open({
    programs: { gradient: gradientProgram({ ...model, trainables: asked }) }, state: initialState(model, { base, seed: 3 }), constants: frozenTensors(model, base), threads: 1,
  });
  try {
    const sums: HostTensors = {};
    for (const step of steps) {
      const counts = [7, 1, 2]; // of the labels in `usable`, as recipe.classWeights: balanced has them
      const targets = targetFeeds(labels(), { classes, labelSmoothing: 0.1, classWeights: counts.map(count => 10 / (3 * count)) });
      const found = await session.call('gradient', { patches: tinyBatch(images, classes, tinyArchitecture, step + 1).patches, ...targets });
      for (const { name, shape } of asked) {
        sums[name] = { shape, data: Float32Array.from(found[`gradient/${name}`]!.data, (x, i) => x + (sums[name]?.data[i] ?? 0)) };
      }
    }
    return sums;
  } finally {
    await session.dispose();
  }
}

async function modelOf(id: string, options: Record<string, unknown>): Promise<Model> {
  return prepareModel({ architecture: tinyArchitecture, method: findMethod(id), options: parseMethodOptions(id, options), classes, batch: images, dropPath: 0, dropout: false });
}
