/** SIFT beyond the method contract: which elements it chooses, and what training them does and leaves alone. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { engines } from '../../../src/engine/engines';
import type { HostTensors } from '../../../src/engine/program';
import { foldAdapter } from '../../../src/peft/fold';
import { gradientBatches, gradientsNeeded, initialize, initializeByGradients } from '../../../src/peft/initialize';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import type { AdapterTensor } from '../../../src/peft/trainable';
import { frozenTensors, initialState, prepareModel, type Model } from '../../../src/train/model';
import { optimizerScalars } from '../../../src/train/optimizer';
import { gradientProgram, trainingProgram } from '../../../src/train/program';
import { targetFeeds } from '../../../src/train/targets';
import { goldenClasses, readGolden } from '../../fixtures/goldens';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../../fixtures/tiny-vit';

const classes = 3, batch = 4;
const base = tinyBackbone();

describe('sift chooses', () => {
  for (const name of ['sift', 'sift-two-thirds', 'sift-weight-peculiar', 'sift-every-element']) {
    it(`the elements that PyTorch chose in golden ${name}`, async () => {
      const { options, start, backbone } = await readGolden(name);
      const model = await modelOf('sift', options, { architecture: backbone.architecture, classes: goldenClasses, batch: backbone.batch.labels.length });
      const needed = gradientsNeeded(model.tensors);
      assert.equal(needed.length > 0, options['selection'] !== 'weight');
      const state = { ...initialState(model, { base: backbone.tensors, seed: 1 }), 'head.weight': start['head.weight']!, 'head.bias': start['head.bias']! };
      const { patches, labels } = backbone.batch;
      const gradients = needed.length ? await weightGradients(model, { state, backbone: backbone.tensors, names: needed, patches, labels }) : {};
      const own = initialize(model.tensors, { base: backbone.tensors, seed: 1, gradients });
      const indices = model.tensors.filter(({ name }) => name.endsWith('indices'));
      assert.ok(indices.length > 1);
      for (const { name } of indices) assert.deepEqual([...own[name]!.data], [...start[name]!.data], name);
      assert.deepEqual(Object.keys(initializeByGradients(model.tensors, { base: backbone.tensors, seed: 1, gradients })), needed.length ? indices.map(({ name }) => name) : []);
    });
  }

  it('one more than the share, all of them at 1, and the first of equal ones', async () => {
    const chosen = async (rate: number, gradient: (i: number) => number) => {
      const model = await modelOf('sift', { rate, targets: ['proj'] });
      const size = tinyArchitecture.width ** 2;
      const gradients = Object.fromEntries(gradientsNeeded(model.tensors).map(name => [name, { shape: [size], data: Float32Array.from({ length: size }, (_, i) => gradient(i)) }]));
      return [...initialize(model.tensors, { base, seed: 1, gradients })['blocks.0.attn.proj.sift.indices']!.data];
    };
    assert.deepEqual(await chosen(0.01, i => (i === 200 ? -3 : i === 7 ? 2 : i === 100 ? 1e-30 : 0)), [7, 100, 200]); // floor(2.56) + 1
    assert.deepEqual(await chosen(0.01, () => -1), [0, 1, 2]);
    assert.deepEqual(await chosen(0.01, i => 1 + (i === 255 ? 1e-6 : i % 2 ? 5e-7 : 0)), [1, 3, 255]);
    assert.equal((await chosen(1, i => i)).length, 256);
  });

  it('any elements by the seed, each once', async () => {
    const model = await modelOf('sift', { rate: 0.3, targets: ['fc1'], selection: 'random' });
    const indices = (seed: number) => [...initialize(model.tensors, { base, seed })['blocks.1.mlp.fc1.sift.indices']!.data];
    assert.deepEqual(gradientsNeeded(model.tensors), []);
    assert.equal(new Set(indices(1)).size, Math.floor(0.3 * 512) + 1);
    assert.deepEqual(indices(1), indices(1));
    assert.notDeepEqual(indices(1), indices(2));
  });

  it('by as many batches as its options say', async () => {
    assert.equal(gradientBatches((await modelOf('sift', {})).tensors), 1);
    assert.equal(gradientBatches((await modelOf('ssf+sift', { sift: { selectionBatches: 3 } })).tensors), 3);
  });

  it('no element of a layer too large for its indices', async () => {
    await assert.rejects(modelOf('sift', {}, { architecture: { ...tinyArchitecture, width: 4096, hidden: 16 } }), /SIFT does not suit this backbone: blocks\.0\.attn\.qkv has 50331648 weights/);
  });
});

describe('sift trains', () => {
  it('as many elements of each weight as it says, and leaves every bit of the others', async () => {
    const model = await modelOf('sift', { rate: 0.02, selection: 'random' });
    const start = initialState(model, { base, seed: 3 });
    const trained = await trainedState(model, start, { steps: 3, weightDecay: 0 });
    const folded = foldAdapter({ ...model, base, trained });
    for (const [name, { data }] of Object.entries(base)) {
      const changed = Array.from(data).filter((x, i) => !Object.is(x, folded[name]!.data[i])).length;
      const expected = trained[name.replace(/weight$/, 'sift.values')]?.data.length ?? 0;
      assert.equal(changed, expected, name);
    }
    const moments = Object.entries(start).filter(([name]) => name.startsWith('adam.') && !name.includes('head.'));
    const values = model.trainables.filter(({ source }) => source === 'added').reduce((sum, { shape }) => sum + shape[0]!, 0);
    assert.equal(moments.reduce((sum, [, { data }]) => sum + data.length, 0), 2 * values);
  });

  it('with every element, what the whole weight would become', async () => {
    const sparse = await modelOf('sift', { rate: 1, targets: ['fc1', 'proj'] });
    const dense = await modelOf('selective', { blocks: [0, 1], parts: ['fc1', 'proj'] });
    const settings = { steps: 4, weightDecay: 0 };
    const folded = foldAdapter({ ...sparse, base, trained: await trainedState(sparse, initialState(sparse, { base, seed: 3 }), settings) });
    const start = initialState(dense, { base, seed: 3 });
    const whole = await trainedState({ ...dense, trainables: dense.trainables.filter(({ name }) => !/(proj|fc1)\.bias/.test(name)) }, start, settings);
    for (const name of ['blocks.0.attn.proj.weight', 'blocks.1.mlp.fc1.weight']) {
      const off = Math.max(...whole[name]!.data.map((x, i) => Math.abs(x - folded[name]!.data[i]!)));
      assert.ok(off <= 1e-6, `${name} is off by ${off}`);
      assert.notDeepEqual(whole[name]!.data, base[name]!.data);
    }
  });

  it('further on the elements with the largest gradients than on any', async () => {
    const lossWith = async (selection: string, seed: number) => {
      const model = await modelOf('sift', { rate: 0.01, selection });
      const noIndices = initialState(model, { base, seed }), { patches, labels } = tinyBatch(batch, classes);
      const names = gradientsNeeded(model.tensors);
      const gradients = names.length ? await weightGradients(model, { state: noIndices, backbone: base, names, patches, labels }) : {};
      const sift = { ...model, trainables: model.trainables.filter(({ source }) => source === 'added') }; // the head stays
      const start = initialState(model, { base, seed, gradients });
      const trained = await trainedState(sift, start, { steps: 10, weightDecay: 0 });
      const session = await engines.cpu.open({ programs: { gradient: gradientProgram(model) }, state: { ...start, ...trained }, constants: frozenTensors(model, base), threads: 1 });
      const { loss } = await session.call('gradient', { patches, ...targetFeeds(labels, { classes, labelSmoothing: 0, classWeights: null }) });
      await session.dispose();
      return loss!.data[0]!;
    };
    for (const seed of [1, 2, 3]) {
      const [byGradient, any] = [await lossWith('gradient', seed), await lossWith('random', seed)];
      assert.ok(byGradient < any, `${byGradient} against ${any}`);
    }
  });

  it('without weight decay on the increments', async () => {
    const model = await modelOf('sift', { rate: 0.05 });
    const drawn = initialize(model.trainables.map(({ name, shape }) => ({ name, shape, source: 'added', initial: { kind: 'normal', std: 0.1 } })), { base, seed: 6 });
    const start = { ...initialState(model, { base, seed: 3 }), ...drawn };
    const [without, decayed] = [await trainedState(model, start, { steps: 1, weightDecay: 0 }), await trainedState(model, start, { steps: 1, weightDecay: 5 })];
    for (const { name, source } of model.trainables) {
      if (source === 'added') assert.deepEqual(decayed[name], without[name], name);
      else assert.notDeepEqual(decayed[name], without[name], name);
    }
  });
});

async function modelOf(id: string, options: Record<string, unknown>, changes: Partial<Pick<Model, 'architecture' | 'classes' | 'batch'>> = {}): Promise<Model> {
  return prepareModel({ architecture: tinyArchitecture, method: findMethod(id), options: parseMethodOptions(id, options), classes, batch, dropPath: 0, dropout: false, ...changes });
}

interface GradientQuestion { state: HostTensors; backbone: HostTensors; names: readonly string[]; patches: HostTensors[string]; labels: Int32Array }

async function weightGradients(model: Model, { state, backbone, names, patches, labels }: GradientQuestion): Promise<HostTensors> {
  const asked = names.map((name): AdapterTensor => ({ name, shape: backbone[name]!.shape, source: 'base' }));
  const session = await engines.cpu.open({ programs: { gradient: gradientProgram({ ...model, trainables: asked }) }, state, constants: frozenTensors(model, backbone), threads: 1 });
  try {
    const found = await session.call('gradient', { patches, ...targetFeeds(labels, { classes: model.classes, labelSmoothing: 0, classWeights: null }) });
    return Object.fromEntries(names.map(name => [name, found[`gradient/${name}`]!]));
  } finally {
    await session.dispose();
  }
}

async function trainedState(model: Model, state: HostTensors, { steps, weightDecay }: { steps: number; weightDecay: number }): Promise<HostTensors> {
  const session = await engines.cpu.open({ programs: { train: trainingProgram(model) }, state, constants: frozenTensors(model, base), threads: 1 });
  try {
    const { patches, labels } = tinyBatch(batch, classes);
    const feeds = { patches, ...targetFeeds(labels, { classes, labelSmoothing: 0, classWeights: null }) };
    for (let step = 0; step < steps; step++) await session.call('train', { ...feeds, ...optimizerScalars({ step, learningRate: 1e-2, weightDecay }) });
    const after = await session.readState();
    return Object.fromEntries(model.tensors.map(({ name }) => [name, after[name]!]));
  } finally {
    await session.dispose();
  }
}
