/** What is found to be frozen, and that computing it beforehand changes no number, for every method there is. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fillKeepMask, streamKey } from '../../../src/common/random';
import { engines } from '../../../src/engine/engines';
import type { HostTensors } from '../../../src/engine/program';
import { findMethod, methods, parseMethodOptions } from '../../../src/peft/registry';
import { frozenTensors, initialState, prepareModel, type Model } from '../../../src/train/model';
import { optimizerScalars } from '../../../src/train/optimizer';
import { describePrefix, findPrefixes } from '../../../src/train/prefix';
import { evaluationProgram, prefixProgram, trainingProgram } from '../../../src/train/program';
import { targetFeeds } from '../../../src/train/targets';
import { stageShape } from '../../../src/vit/stages';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../../fixtures/tiny-vit';

const architecture = { ...tinyArchitecture, depth: 3 };
const base = tinyBackbone(architecture);
const classes = 3, batch = 4, whole = architecture.depth + 1;

interface Setting { method: string; options?: Record<string, unknown>; dropPath?: number; augmented?: boolean; training: number; evaluation: number }

const settings: Setting[] = [
  { method: 'linear', training: whole, evaluation: whole },
  { method: 'linear', dropPath: 0.2, training: 1, evaluation: whole },
  { method: 'linear', augmented: true, training: 0, evaluation: whole },
  { method: 'full', training: 0, evaluation: 0 },
  { method: 'lora', training: 0, evaluation: 0 },
  { method: 'bitfit', training: 0, evaluation: 0 },
  { method: 'selective', options: { blocks: [-1] }, training: 2, evaluation: 2 },
  { method: 'selective', options: { blocks: [1] }, training: 1, evaluation: 1 },
  { method: 'selective', options: { blocks: [-1] }, dropPath: 0.2, training: 1, evaluation: 2 },
  { method: 'vqt', training: 0, evaluation: 0 },
];

describe('the frozen prefix', () => {
  for (const { method, options = {}, dropPath = 0, augmented = false, training, evaluation } of settings) {
    it(`of ${method} ${JSON.stringify(options)}${dropPath ? ' under drop path' : ''}${augmented ? ' with augmentation' : ''} reaches stage ${training} in training and ${evaluation} in evaluation`, async () => {
      const found = await findPrefixes(await modelOf(method, options, dropPath), { augmented });
      assert.deepEqual([found.training.stage, found.evaluation.stage], [training, evaluation]);
    });
  }

  for (const id of Object.keys(methods)) {
    it(`of ${id}, computed beforehand, changes no number`, async () => {
      const model = await modelOf(id, {}, 0);
      const { training, evaluation } = await findPrefixes(model, { augmented: false });
      if (!training.stage && !evaluation.stage) return;
      const state = away(model);
      const { patches, labels } = tinyBatch(batch, classes, architecture);
      const session = await engines.cpu.open({
        programs: {
          prefix: prefixProgram(model, evaluation.stage), plain: evaluationProgram(model), cached: evaluationProgram(model, evaluation),
          trainingPrefix: prefixProgram(model, training.stage), train: trainingProgram(model), trainCached: trainingProgram(model, training),
        },
        state, constants: frozenTensors(model, base), threads: 1,
      });
      try {
        const { prefix } = await session.call('prefix', { patches });
        const { rows, columns } = stageShape(architecture, evaluation.stage);
        assert.deepEqual([...prefix!.shape], [rows * batch, columns]);
        const logits = async (program: string, feed: HostTensors[string]) => (await session.call(program, { patches: feed }))['logits']!.data;
        assert.ok(largest(await logits('cached', prefix!), await logits('plain', patches)) <= 1e-6);
        const feeds = { ...targetFeeds(labels, { classes, labelSmoothing: 0, classWeights: null }), ...masksOf(model), ...optimizerScalars({ step: 0, learningRate: 1e-2, weightDecay: 1e-4 }) };
        const { prefix: trained } = await session.call('trainingPrefix', { patches });
        await session.call('trainCached', { ...feeds, patches: trained! });
        const own = structuredClone(await session.readState());
        await session.writeState(state);
        await session.call('train', { ...feeds, patches });
        const plain = await session.readState();
        for (const [name, { data }] of Object.entries(plain)) assert.ok(largest(own[name]!.data, data) <= 1e-6, name);
      } finally {
        await session.dispose();
      }
    });
  }

  it('is one computation for methods that share it, and another at another stage', async () => {
    const [probe, tuned] = [await modelOf('linear', {}, 0), await modelOf('selective', { blocks: [-1] }, 0)];
    assert.equal((await describePrefix(probe, 2)).digest, (await describePrefix(tuned, 2)).digest);
    assert.notEqual((await describePrefix(probe, 2)).digest, (await describePrefix(probe, 1)).digest);
    const { reads } = await describePrefix(probe, 1);
    assert.ok(reads.has('blocks.0.mlp.fc2.bias') && !reads.has('blocks.1.norm1.weight'));
  });
});

function modelOf(id: string, options: Record<string, unknown>, dropPath: number): Promise<Model> {
  return prepareModel({ architecture, method: findMethod(id), options: parseMethodOptions(id, options), classes, batch, dropPath, dropout: true });
}

/** First values, moved away from where an adapter has no effect. */
function away(model: Model): HostTensors {
  const state = initialState(model, { base, seed: 1 });
  for (const { name } of model.trainables) state[name] = { shape: state[name]!.shape, data: (state[name]!.data as Float32Array).map((x, i) => x + 0.05 * Math.sin(i + 1)) };
  return state;
}

function masksOf(model: Model): HostTensors {
  return Object.fromEntries(model.masks.map(({ name, shape, rate }) => {
    const data = new Uint8Array(shape.reduce((a, b) => a * b, 1));
    fillKeepMask(data, rate, streamKey(1, 'mask', name, 0));
    return [name, { shape, data }];
  }));
}

function largest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i]!)));
}
