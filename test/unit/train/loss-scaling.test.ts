/** Training with products in f16, on the processor's graph engine: ONNX Runtime rounds there as a GPU does, and sums in f32. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, it } from 'node:test';
import { engines } from '../../../src/engine/engines';
import type { Precision, Session } from '../../../src/engine/program';
import { findMethod } from '../../../src/peft/registry';
import { initialProgress, readCheckpoint, writeCheckpoint, type Progress } from '../../../src/train/checkpoint';
import { initialLossScale, nextLossScale, scaleLoss, withLossScaling } from '../../../src/train/loss-scaling';
import { frozenTensors, initialState, prepareModel, type Model } from '../../../src/train/model';
import { optimizerScalars } from '../../../src/train/optimizer';
import { gradientProgram, trainingProgram } from '../../../src/train/program';
import { targetFeeds } from '../../../src/train/targets';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../../fixtures/tiny-vit';
import { worstError } from '../../fixtures/gradient-case';
import { temporaryFolder } from '../store/fixtures';

const classes = 3, batch = 4;
const base = tinyBackbone();

describe('the scale of the loss', () => {
  it('halves where gradients are not finite, and doubles after 2000 steps where they are', () => {
    const start = initialLossScale();
    const halved = nextLossScale({ ...start, finiteSteps: 7 }, false);
    assert.deepEqual(halved, { scale: start.scale / 2, finiteSteps: 0, skipped: 1 });
    let scale = halved;
    for (let step = 0; step < 1999; step++) scale = nextLossScale(scale, true);
    assert.deepEqual(scale, { ...halved, finiteSteps: 1999 });
    assert.deepEqual(nextLossScale(scale, true), { scale: start.scale, finiteSteps: 0, skipped: 1 });
  });

  it('is given up where nothing is left to halve', () => {
    assert.throws(() => nextLossScale({ scale: 1, finiteSteps: 0, skipped: 16 }, false), { name: 'UserError', message: /not finite in f16[^]*"bf16" or "f32"/ });
  });
});

describe('products in f16', () => {
  it('gradients are the reference\'s within a bound of their own', async () => {
    const model = await modelOf();
    const gradients = async (precision: Precision) => {
      const session = await engines.graph.open({ programs: { gradient: gradientProgram(model) }, state: startOf(model), constants: frozenTensors(model, base), threads: 1, precision });
      const fetched = await session.call('gradient', lossFeeds(model));
      await session.dispose();
      return fetched;
    };
    const error = worstError(await gradients('f16'), await gradients('f32'));
    assert.ok(error > 1e-5 && error < 0.01, `worst tensor is off by ${error}`);
  });

  it('a step whose gradients are not finite changes nothing, and is not counted; the next ones train', async () => {
    const model = await modelOf();
    const progress: Pick<Progress, 'lossScale'> = { lossScale: { scale: 2 ** 40, finiteSteps: 0, skipped: 0 } };
    const inner = await open(model);
    const session = scaleLoss(inner, ['train'], progress);
    const before = structuredClone(await session.readState());
    const { loss, finite } = await step(session, model, progress, 0);
    assert.ok(Number.isFinite(loss!.data[0]) && finite!.data[0] === 0);
    assert.deepEqual(await session.readState(), before);
    assert.deepEqual(progress.lossScale, { scale: 2 ** 39, finiteSteps: 0, skipped: 1 });
    const losses: number[] = [];
    for (let i = 1; i < 60; i++) losses.push((await step(session, model, progress, i))['loss']!.data[0]!);
    const { skipped, finiteSteps, scale } = progress.lossScale!;
    assert.ok(skipped > 5 && skipped < 40 && skipped + finiteSteps === 60 && scale === 2 ** (40 - skipped), JSON.stringify(progress.lossScale));
    assert.ok(losses.at(-1)! < 0.6 * losses[0]!, `from ${losses[0]} to ${losses.at(-1)}`);
    await session.dispose();
  });

  it('follows f32 closely: the parameters stay f32', async () => {
    const model = await modelOf();
    const train = async (precision: Precision) => {
      const progress: Pick<Progress, 'lossScale'> = {};
      const inner = await open(model, precision);
      const session = precision === 'f16' ? scaleLoss(inner, ['train'], progress) : inner;
      const losses: number[] = [];
      for (let i = 0; i < 12; i++) losses.push((await step(session, model, progress, i, 1e-3))['loss']!.data[0]!);
      await session.dispose();
      return losses;
    };
    const [half, exact] = [await train('f16'), await train('f32')];
    half.forEach((loss, i) => assert.ok(Math.abs(loss - exact[i]!) < 5e-3 * exact[i]!, `step ${i}: ${loss} and ${exact[i]}`));
  });

  it('goes on from a checkpoint with the same bits, skipped steps included', async t => {
    const model = await modelOf();
    const file = path.join(temporaryFolder(t), 'checkpoint.safetensors');
    const whole = { ...initialProgress(), lossScale: { scale: 2 ** 40, finiteSteps: 0, skipped: 0 } };
    const inner = await open(model);
    const session = scaleLoss(inner, ['train'], whole);
    for (let i = 0; i < 30; i++) {
      if (i === 15) await writeCheckpoint(file, 'trial', { state: await session.readState(), best: null, progress: { ...whole, step: i }, engine: { id: 'graph', threads: 1 } });
      await step(session, model, whole, i);
    }
    const checkpoint = (await readCheckpoint(file, 'trial'))!;
    assert.ok(checkpoint.progress.lossScale!.skipped > 0);
    const again = scaleLoss(await open(model), ['train'], checkpoint.progress);
    await again.writeState(checkpoint.state);
    for (let i = checkpoint.progress.step; i < 30; i++) await step(again, model, checkpoint.progress, i);
    assert.deepEqual(await again.readState(), await session.readState());
    assert.deepEqual(checkpoint.progress.lossScale, whole.lossScale);
    await session.dispose();
    await again.dispose();
  });
});

function modelOf(): Promise<Model> {
  return prepareModel({ architecture: tinyArchitecture, method: findMethod('full'), options: {}, classes, batch, dropPath: 0, dropout: false });
}

function startOf(model: Model) {
  return initialState(model, { base, seed: 1 });
}

function open(model: Model, precision: Precision = 'f16'): Promise<Session> {
  return engines.graph.open({
    programs: withLossScaling({ train: trainingProgram(model) }, precision), state: startOf(model), constants: frozenTensors(model, base), threads: 1, precision,
  });
}

function step(session: Session, model: Model, { lossScale }: Pick<Progress, 'lossScale'>, number: number, learningRate = 1e-2) {
  return session.call('train', { ...lossFeeds(model), ...optimizerScalars({ step: number - (lossScale?.skipped ?? 0), learningRate, weightDecay: 0 }) });
}

function lossFeeds(model: Model) {
  const { labels, patches } = tinyBatch(model.batch, classes);
  return { patches, ...targetFeeds(labels, { classes, labelSmoothing: 0, classWeights: null }) };
}
