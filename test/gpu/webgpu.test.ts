/** The graph on ONNX Runtime's WebGPU provider: numbers, memory, and that nothing runs on the processor. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { engines } from '../../src/engine/engines';
import { openOnProvider } from '../../src/engine/graph-gpu';
import { standardDialect } from '../../src/engine/onnx/write';
import type { EngineId, HostTensors, Precision, Program } from '../../src/engine/program';
import { tf } from '../../src/engine/tfjs';
import { findMethod, parseMethodOptions } from '../../src/peft/registry';
import { scaleLoss, withLossScaling } from '../../src/train/loss-scaling';
import { frozenTensors, initialState, prepareModel } from '../../src/train/model';
import { optimizerScalars } from '../../src/train/optimizer';
import { evaluationProgram, trainingProgram } from '../../src/train/program';
import { targetFeeds } from '../../src/train/targets';
import { engineOrSkip } from '../fixtures/engines';
import { tinyFeeds, tinyGradients, tinyVit, tinyWeights, worstError } from '../fixtures/gradient-case';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../fixtures/tiny-vit';

const architectures = {
  plain: tinyVit,
  'pre-norm, no patch bias, quick-gelu': { ...tinyVit, preNorm: true, patchBias: false, activation: 'quick-gelu' as const },
  'LayerScale': { ...tinyVit, layerScale: true },
};

async function gradients(id: EngineId, architecture = tinyVit, precision: Precision = 'f32'): Promise<HostTensors> {
  const weights = tinyWeights(architecture);
  const session = await engines[id].open({ programs: { gradients: tinyGradients(architecture) }, state: weights, constants: {}, threads: 1, precision });
  try {
    return await session.call('gradients', tinyFeeds(architecture));
  } finally {
    await session.dispose();
  }
}

describe('graph-webgpu', () => {
  for (const [name, architecture] of Object.entries(architectures)) {
    it(`${name}: gradients equal the reference's`, async t => {
      if (!await engineOrSkip(t, 'graph-webgpu')) return;
      const error = worstError(await gradients('graph-webgpu', architecture), await gradients('cpu', architecture));
      assert.ok(error < 1e-5, `worst tensor is off by ${error}`);
    });
  }

  it('in f16, gradients are the reference\'s within a bound of their own', async t => {
    if (!await engineOrSkip(t, 'graph-webgpu')) return;
    const error = worstError(await gradients('graph-webgpu', tinyVit, 'f16'), await gradients('cpu'));
    assert.ok(error > 1e-5 && error < 0.02, `worst tensor is off by ${error}`);
  });

  it('in f16, a step whose gradients are not finite changes nothing, and the next ones train', async t => {
    if (!await engineOrSkip(t, 'graph-webgpu')) return;
    const model = await prepareModel({ architecture: tinyArchitecture, method: findMethod('lora'), options: { ...parseMethodOptions('lora', {}) }, classes: 3, batch: 4, dropPath: 0, dropout: false });
    const base = tinyBackbone(), { labels, patches } = tinyBatch(4, 3);
    const progress = { lossScale: { scale: 2 ** 40, finiteSteps: 0, skipped: 0 } };
    const session = scaleLoss(await engines['graph-webgpu'].open({
      programs: { ...withLossScaling({ train: trainingProgram(model) }, 'f16'), evaluate: evaluationProgram(model) },
      state: initialState(model, { base, seed: 1 }), constants: frozenTensors(model, base), threads: 1, precision: 'f16',
    }), ['train'], progress);
    const step = (number: number) => session.call('train', {
      patches, ...targetFeeds(labels, { classes: 3, labelSmoothing: 0, classWeights: null }),
      ...optimizerScalars({ step: number - progress.lossScale.skipped, learningRate: 1e-2, weightDecay: 0 }),
    });
    const before = await session.readState();
    const first = await step(0);
    assert.equal(first['finite']!.data[0], 0);
    assert.deepEqual(await session.readState(), before);
    for (let number = 1; number < 50; number++) await step(number);
    const last = await step(50);
    assert.ok(progress.lossScale.skipped > 5 && progress.lossScale.skipped < 40, JSON.stringify(progress.lossScale));
    assert.ok(last['loss']!.data[0]! < 0.6 * first['loss']!.data[0]!, `from ${first['loss']!.data[0]} to ${last['loss']!.data[0]}`);
    assert.equal((await session.call('evaluate', { patches }))['logits']!.data.length, 12);
    await session.dispose();
  });

  it('keeps state on the device between steps: 500 of them leave memory as it is', async t => {
    if (!await engineOrSkip(t, 'graph-webgpu')) return;
    const size = 2 ** 16;
    const session = await engines['graph-webgpu'].open({
      programs: { grow, look }, state: { x: { shape: [size], data: new Float32Array(size) } }, constants: { rate: { shape: [], data: Float32Array.of(2) } }, threads: 1,
    });
    const step = () => session.call('grow', { by: { shape: [], data: Float32Array.of(0.5) } });
    for (let i = 0; i < 100; i++) await step();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 500; i++) await step();
    const grown = (process.memoryUsage().rss - before) / 2 ** 20;
    assert.ok(grown < 40, `grew by ${grown.toFixed(0)} MiB; 500 states that are not freed are 125 MiB`);
    assert.equal((await session.call('look', {}))['first']!.data[0], 600);
    const { x } = await session.readState();
    assert.deepEqual([x!.data[0], x!.data[size - 1], x!.data.length], [600, 600, size]);
    const reads = async (times: number) => {
      for (let i = 0; i < times; i++) await session.readState(); // as checkpoints do
      return process.memoryUsage().rss;
    };
    const first = await reads(100); // these fill what the driver and the collector keep
    const kept = (await reads(800) - first) / 2 ** 20;
    assert.ok(kept < 80, `reading the state 800 times keeps ${kept.toFixed(0)} MiB; states that are not freed are 200 MiB`);
    await session.dispose();
  });

  it('refuses a graph that would run in part on the processor', async t => {
    if (!await engineOrSkip(t, 'graph-webgpu')) return;
    const ort = await import('onnxruntime-node');
    const open = (dialect: typeof standardDialect) => openOnProvider(
      { id: 'graph-webgpu', ort, provider: 'webgpu', dialect, stateLocation: 'gpu-buffer' },
      { programs: { gradients: tinyGradients(tinyVit) }, state: tinyWeights(tinyVit), constants: {}, threads: 1 },
    );
    const session = await open(standardDialect); // with FusedMatMul, which this provider has not
    await assert.rejects(session.call('gradients', tinyFeeds(tinyVit)), /fallback to CPU EP has been explicitly disabled/);
    await session.dispose();
  });

  it('recomputes what a session asks for, and comes to the same numbers', async t => {
    if (!await engineOrSkip(t, 'graph-webgpu')) return;
    const run = async (recompute: 'off' | 'blocks') => {
      const session = await engines['graph-webgpu'].open({ programs: { gradients: tinyGradients(tinyVit) }, state: tinyWeights(tinyVit), constants: {}, threads: 1, recompute });
      const fetched = await session.call('gradients', tinyFeeds(tinyVit));
      await session.dispose();
      return fetched;
    };
    const error = worstError(await run('blocks'), await run('off'));
    assert.ok(error < 1e-6, `worst tensor differs by ${error}`);
  });

  it('writes state, and reads what was written', async t => {
    if (!await engineOrSkip(t, 'graph-webgpu')) return;
    const session = await engines['graph-webgpu'].open({ programs: { grow, look }, state: { x: vector(1, 2) }, constants: { rate: vector(1, 10) }, threads: 1 });
    await session.call('grow', { by: { shape: [], data: Float32Array.of(1) } });
    await session.writeState({ x: vector(7, 8) });
    for (let i = 0; i < 3; i++) assert.equal((await session.call('look', {}))['first']!.data[0], 7);
    await session.call('grow', { by: { shape: [], data: Float32Array.of(1) } });
    assert.deepEqual([...(await session.readState())['x']!.data], [8, 18]);
    await assert.rejects(session.writeState({ y: vector(1) }), /no state 'y'/);
    await session.dispose();
  });
});

const vector = (...values: number[]) => ({ shape: [values.length], data: Float32Array.from(values) });

/** state x + by * rate */
const grow: Program = {
  feeds: [{ name: 'by', shape: [], dtype: 'float32' }],
  run: ({ x, by, rate }) => ({ fetches: { done: by! }, state: { x: tf.add(x!, tf.mul(by!, rate!)) } }),
};
const look: Program = { feeds: [], run: ({ x }) => ({ fetches: { first: tf.slice(x!, 0, 1) }, state: {} }) };
