/** What every file of src/methods must keep, on every engine that this machine has; tested on a tiny ViT. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { z } from 'zod';
import { fillKeepMask, streamKey } from '../../src/common/random';
import { engines } from '../../src/engine/engines';
import type { Architecture } from '../../src/common/trial';
import type { Engine, HostTensors, Session } from '../../src/engine/program';
import { tf } from '../../src/engine/tfjs';
import { loadAdapter, saveAdapter } from '../../src/peft/adapter';
import { interpolationOf } from '../../src/peft/combine';
import { countParameters } from '../../src/peft/count';
import { foldAdapter } from '../../src/peft/fold';
import { interpolate } from '../../src/peft/interpolate';
import { initialize } from '../../src/peft/initialize';
import { methods, parseMethodOptions } from '../../src/peft/registry';
import { trainRule } from '../../src/peft/trainable';
import { frozenTensors, initialState, prepareModel, type Model } from '../../src/train/model';
import { optimizerScalars } from '../../src/train/optimizer';
import { evaluationProgram, gradientProgram, trainingProgram } from '../../src/train/program';
import { targetFeeds } from '../../src/train/targets';
import { baseParameters } from '../../src/vit/architecture';
import { engineForms, engineOrSkip } from '../fixtures/engines';
import '../fixtures/quick-xla';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../fixtures/tiny-vit';

const classes = 3, batch = 4;
const base = tinyBackbone();
/** Everything that CLIP's, DINOv2's and other plain ViTs have and the usual one has not. */
const peculiar = { ...tinyArchitecture, activation: 'quick-gelu', preNorm: true, patchBias: false, layerScale: true, qkvBias: false, layerNormEpsilon: 1e-5, hidden: 48 } as const;
const peculiarBase = tinyBackbone(peculiar);
const reference = engines.cpu;

for (const [id, method] of Object.entries(methods)) {
  describe(`method ${id}`, () => {
    const { main, further } = formsOf(id);
    for (const options of [...main, ...further]) {
      const isMain = main.includes(options);
      const label = JSON.stringify(options);
      it(`${label}: declared shapes are the real ones, and every base tensor has a rule`, async () => {
        const model = await modelOf(id, options);
        const state = initialState(model, { base, seed: 1 });
        for (const { name, shape } of model.trainables) {
          assert.deepEqual([...state[name]!.shape], [...shape], name);
          assert.equal(state[name]!.data.length, shape.reduce((a, b) => a * b, 1), name);
        }
        const trains = trainRule(method, tinyArchitecture, model.options);
        for (const { name } of baseParameters(tinyArchitecture)) assert.equal(typeof trains(name), 'boolean');
        const { trainable, head } = countParameters({ ...model });
        assert.equal(trainable + head, model.trainables.reduce((sum, { name }) => sum + state[name]!.data.length, 0));
      });

      it(`${label}: is the identity at the start, or says why not`, async () => {
        const model = await modelOf(id, options);
        const logits = await evaluate(reference, model, initialState(model, { base, seed: 1 }));
        const plain = await modelOf('linear', {});
        const head = initialState(plain, { base, seed: 1 });
        const difference = largestDifference(logits, await evaluate(reference, plain, head));
        if (method.identityAtStart(model.options) === true) assert.ok(difference <= 1e-5, `differs by ${difference}`);
        else assert.ok(difference > 1e-5, 'declares that it is not the identity, and is');
      });

      it(`${label}: an adapter saved and loaded is equal`, async () => {
        const model = await modelOf(id, options);
        const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-adapter-'));
        after(() => fs.rmSync(folder, { recursive: true, force: true }));
        const tensors = randomized(model);
        await saveAdapter({
          folder, tensors,
          manifest: {
            method: { id, version: method.version, options: model.options }, classes: ['a', 'b', 'c'],
            backbone: { name: 'tiny', fingerprint: 'f', architecture: tinyArchitecture },
            normalization: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }, resize: 'stretch',
          },
        });
        const loaded = await loadAdapter(folder);
        assert.deepEqual(loaded.tensors, tensors);
        assert.deepEqual(loaded.manifest.method.options, model.options);
      });

      it(`${label}: interpolates from the frozen backbone to the adapter, or says why not`, async () => {
        const model = await modelOf(id, options);
        const trained = randomized(model);
        const at = (alpha: number, frozenHead: HostTensors | null = null) => interpolate({ ...model, base, trained, frozenHead, alpha });
        const kind = interpolationOf(method, model.options);
        if ('refused' in kind) return assert.throws(() => at(0.5), /cannot be interpolated/);
        const plain = await modelOf('linear', {});
        const head = { 'head.weight': trained['head.weight']!, 'head.bias': trained['head.bias']! };
        const logitsAt = async (alpha: number) => {
          const { method: own, options: ownOptions, backbone, adapter } = at(alpha);
          const there = await prepareModel({ ...model, method: own, options: ownOptions });
          return evaluate(reference, there, { ...initialState(there, { base, seed: 1 }), ...adapter }, backbone);
        };
        const adapted = await evaluate(reference, model, { ...initialState(model, { base, seed: 1 }), ...trained });
        const atStart = largestDifference(await logitsAt(0), await evaluate(reference, plain, { ...initialState(plain, { base, seed: 1 }), ...head }));
        const atEnd = largestDifference(await logitsAt(1), adapted);
        assert.ok(atStart <= 1e-5, `alpha 0 differs from the frozen backbone by ${atStart}`);
        assert.ok(atEnd <= 1e-5, `alpha 1 differs from the adapter by ${atEnd}`);
        const zero = { 'head.weight': { shape: [classes, tinyArchitecture.width], data: new Float32Array(classes * tinyArchitecture.width) }, 'head.bias': { shape: [classes], data: new Float32Array(classes) } };
        assert.deepEqual(at(0.25, zero).adapter['head.bias']!.data, (trained['head.bias']!.data as Float32Array).map(x => 0.25 * x));
        if (kind.kind === 'weights' && !saysItCannotFold(model, trained)) checkStraightLine(model, trained);
      });

      it(`${label}: folded equals unfolded, or folding is refused`, async () => {
        const model = await modelOf(id, options);
        const trained = randomized(model);
        const fold = () => foldAdapter({ method, options: model.options, architecture: tinyArchitecture, base, trained });
        if (saysItCannotFold(model, trained)) return assert.throws(fold, /cannot be folded into the backbone/);
        const folded = fold();
        const plain = await modelOf('linear', {});
        const kept = Object.fromEntries(Object.entries(folded).filter(([name]) => !name.startsWith('head.')));
        const head = Object.fromEntries(Object.entries(folded).filter(([name]) => name.startsWith('head.')));
        const difference = largestDifference(
          await evaluate(reference, model, { ...initialState(model, { base, seed: 1 }), ...trained }),
          await evaluate(reference, plain, { ...initialState(plain, { base, seed: 1 }), ...head }, kept));
        assert.ok(difference <= 1e-5, `differs by ${difference}`);
      });

      for (const engineId of engineForms) {
        it(`${label} on ${engineId}: gradients equal the reference and finite differences`, async t => {
          const engine = await engineOrSkip(t, engineId);
          if (!engine) return;
          const model = await modelOf(id, options);
          const state = { ...initialState(model, { base, seed: 1 }), ...randomized(model) };
          const expected = await gradients(reference, model, state);
          checkGradients(engine === reference ? expected : await gradients(engine, model, state), expected, model);
          if (engine === reference && !method.detached) await checkFiniteDifferences(engine, model, state, expected);
        });

        // XLA compiles each form for seconds: one of a method shows what the backbone does to it.
        if (engineId !== reference.id && (isMain || engineId !== 'tensorflow')) it(`${label} on ${engineId}: gradients equal the reference on a backbone with every peculiarity`, async t => {
          const engine = await engineOrSkip(t, engineId);
          if (!engine) return;
          const model = await modelOf(id, options, { architecture: peculiar });
          const state = { ...initialState(model, { base: peculiarBase, seed: 1 }), ...randomized(model, peculiarBase) };
          checkGradients(await gradients(engine, model, state, peculiarBase), await gradients(reference, model, state, peculiarBase), model);
        });

        if (!isMain) continue; // what follows depends on the form hardly at all
        it(`${label} on ${engineId}: training moves its own tensors only, and all of them; a step leaks none`, async t => {
          const engine = await engineOrSkip(t, engineId);
          if (!engine) return;
          const model = await modelOf(id, options, { dropout: true, dropPath: 0.2 });
          const before = initialState(model, { base, seed: 1 });
          const session = await open(engine, model, before);
          try {
            await session.call('train', stepFeeds(model, 0));
            const { numTensors } = tf.memory();
            for (let step = 1; step < 4; step++) await session.call('train', stepFeeds(model, step));
            await session.call('evaluate', { patches: tinyBatch(batch, classes).patches });
            assert.equal(tf.memory().numTensors, numTensors);
            const after = await session.readState();
            assert.deepEqual(Object.keys(after).sort(), Object.keys(before).sort());
            for (const { name } of model.trainables) assert.ok(largestDifference(after[name]!.data, before[name]!.data) > 0, `${name} did not move`);
            assert.deepEqual(base, tinyBackbone(), 'the frozen tensors changed');
          } finally {
            await session.dispose();
          }
        });

        it(`${label} on ${engineId}: the loss falls on 16 images`, async t => {
          const engine = await engineOrSkip(t, engineId);
          if (!engine) return;
          const model = await modelOf(id, options, { batch: 16 });
          const session = await open(engine, model, initialState(model, { base, seed: 1 }));
          try {
            const losses: number[] = [];
            for (let step = 0; step < 24; step++) losses.push((await session.call('train', stepFeeds(model, step, 2e-2)))['loss']!.data[0]!);
            assert.ok(losses.at(-1)! < 0.75 * losses[0]!, `from ${losses[0]} to ${losses.at(-1)}`);
          } finally {
            await session.dispose();
          }
        });
      }
    }
  });
}

/** The folded weights at alpha = 1/4 lie a quarter of the way from the backbone's to the folded ones at alpha = 1. */
function checkStraightLine(model: Model, trained: HostTensors): void {
  const folded = (alpha: number) => {
    const { adapter } = interpolate({ ...model, base, trained, frozenHead: null, alpha });
    return foldAdapter({ ...model, base, trained: adapter });
  };
  const [quarter, whole] = [folded(0.25), folded(1)];
  for (const [name, { data }] of Object.entries(base)) {
    const expected = Float32Array.from(data, (x, i) => x + 0.25 * (whole[name]!.data[i]! - x));
    const difference = largestDifference(quarter[name]!.data, expected);
    assert.ok(difference <= 1e-5, `${name} is off the straight line by ${difference}`);
  }
}

/** A method that adds something folds it, or gives the reason why not. */
function saysItCannotFold({ method, options, tensors }: Model, trained: HostTensors): boolean {
  if (!method.act && tensors.every(({ source }) => source !== 'added')) return false;
  const floats = (from: HostTensors) => (name: string) => from[name]!.data as Float32Array;
  return !method.fold || typeof method.fold({ architecture: tinyArchitecture, base: floats(base), trained: floats(trained) }, options) === 'string';
}

/** Small sizes, in each variant; and every value of the options that choose between forms, and part of every list that is an option. */
function formsOf(id: string): { main: Record<string, unknown>[]; further: Record<string, unknown>[] } {
  const schema = methods[id]!.options;
  const sizes = { rank: 2, bottleneck: 4, prompts: 3, alpha: 3 };
  const small = Object.fromEntries(Object.entries(sizes).filter(([name]) => name in schema.shape));
  const variants = 'variant' in schema.shape ? ['study', 'original'].map(variant => ({ ...small, variant })) : [small];
  const defaults = parseMethodOptions(id, small);
  const others = Object.entries(defaults).filter(([name]) => !(name in small) && name !== 'variant')
    .flatMap(([name, value]) => otherValues(value, schema.shape[name] as z.ZodType).map(other => ({ [name]: other })));
  const accepted = others.filter(other => schema.safeParse({ ...small, ...other }).success);
  const further = accepted.flatMap(other => (Object.values(other).some(Array.isArray) ? variants : [variants[0]!]).map(variant => ({ ...variant, ...other })));
  return { main: variants, further };
}

/** Other choices than the default: those of an enumeration, the other truth value, 1 for null, the ends of a list. */
function otherValues(value: unknown, schema: z.ZodType): unknown[] {
  const inner = schema instanceof z.ZodDefault ? schema.unwrap() as z.ZodType : schema;
  if (inner instanceof z.ZodEnum) return inner.options.filter(option => option !== value);
  if (typeof value === 'boolean') return [!value];
  if (value === null) return [1];
  return Array.isArray(value) && value.length > 2 ? [[value.at(-1), value[0]]] : [];
}

async function modelOf(id: string, options: Record<string, unknown>, settings: { dropout?: boolean; dropPath?: number; batch?: number; architecture?: Architecture } = {}): Promise<Model> {
  return prepareModel({
    architecture: settings.architecture ?? tinyArchitecture, method: methods[id]!, options: parseMethodOptions(id, options), classes,
    batch: settings.batch ?? batch, dropout: settings.dropout ?? false, dropPath: settings.dropPath ?? 0,
  });
}

function open(engine: Engine, model: Model, state: HostTensors, backbone = base): Promise<Session> {
  return engine.open({
    programs: { train: trainingProgram(model), evaluate: evaluationProgram(model), gradient: gradientProgram(model) },
    state, constants: frozenTensors(model, backbone), threads: 1,
  });
}

async function evaluate(engine: Engine, model: Model, state: HostTensors, backbone = base): Promise<Float32Array> {
  const session = await open(engine, model, state, backbone);
  try {
    return (await session.call('evaluate', { patches: tinyBatch(model.batch, classes).patches }))['logits']!.data as Float32Array;
  } finally {
    await session.dispose();
  }
}

async function gradients(engine: Engine, model: Model, state: HostTensors, backbone = base): Promise<HostTensors> {
  const session = await open(engine, model, state, backbone);
  try {
    return await session.call('gradient', lossFeeds(model));
  } finally {
    await session.dispose();
  }
}

function lossFeeds(model: Model): HostTensors {
  const { labels, patches } = tinyBatch(model.batch, classes);
  return { patches, ...targetFeeds(labels, { classes, labelSmoothing: 0, classWeights: null }) };
}

function stepFeeds(model: Model, step: number, learningRate = 1e-3): HostTensors {
  const masks = Object.fromEntries(model.masks.map(({ name, shape, rate }) => {
    const data = new Uint8Array(shape.reduce((a, b) => a * b, 1));
    fillKeepMask(data, rate, streamKey(1, 'mask', name, step));
    return [name, { shape, data }];
  }));
  return { ...lossFeeds(model), ...masks, ...optimizerScalars({ step, learningRate, weightDecay: 1e-4 }) };
}

/** Every trained tensor away from special values such as 0, so that no gradient vanishes by accident. */
function randomized(model: Model, backbone = base): HostTensors {
  const start = initialState(model, { base: backbone, seed: 5 });
  const noise = initialize(model.trainables.map(t => ({ name: t.name, shape: t.shape, source: 'added', initial: { kind: 'normal', std: 0.1 } })), { base, seed: 6 });
  return Object.fromEntries(model.tensors.map(({ name, shape }) => [
    name, { shape, data: (start[name]!.data as Float32Array).map((x, i) => x + (noise[name]?.data[i] ?? 0)) },
  ]));
}

/** Each tensor: max|difference| <= 1e-4 max|g|; the key bias, whose gradient is analytically 0, is left out. */
function checkGradients(own: HostTensors, expected: HostTensors, model: Model): void {
  assert.ok(Math.abs(own['loss']!.data[0]! - expected['loss']!.data[0]!) <= 1e-5);
  for (const { name } of model.trainables) {
    const [a, b] = [own, expected].map(g => withoutKeyBias(name, g[`gradient/${name}`]!.data as Float32Array)) as [Float32Array, Float32Array];
    const largest = b.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    assert.ok(largest > 1e-7, `${name} has no gradient`);
    assert.ok(largestDifference(a, b) <= 1e-4 * largest, `${name}: ${largestDifference(a, b)} against ${largest}`);
  }
}

function withoutKeyBias(name: string, values: Float32Array): Float32Array {
  if (!name.endsWith('attn.qkv.bias')) return values;
  const { width } = tinyArchitecture;
  return Float32Array.from([...values.subarray(0, width), ...values.subarray(2 * width)]);
}

/** Along each tensor's gradient, (loss(p + h d) - loss(p - h d)) / 2h equals g . d. */
async function checkFiniteDifferences(engine: Engine, model: Model, state: HostTensors, expected: HostTensors): Promise<void> {
  const session = await open(engine, model, state);
  try {
    for (const { name, shape } of model.trainables) {
      const gradient = expected[`gradient/${name}`]!.data as Float32Array;
      const norm = Math.hypot(...gradient);
      const h = 4e-3; // small, for ReLU's kinks; the loss still changes by hundreds of its rounding steps
      const lossAt = async (sign: number) => {
        const data = (state[name]!.data as Float32Array).map((x, i) => x + sign * h * gradient[i]! / norm);
        await session.writeState({ [name]: { shape, data } });
        return (await session.call('gradient', lossFeeds(model)))['loss']!.data[0]!;
      };
      const slope = ((await lossAt(1)) - (await lossAt(-1))) / (2 * h);
      await session.writeState({ [name]: state[name]! });
      // Rounding of the loss itself is the floor for weak gradients.
      assert.ok(Math.abs(slope - norm) <= 1e-2 * norm + 2e-5, `${name}: slope ${slope}, gradient ${norm}`);
    }
  } finally {
    await session.dispose();
  }
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}
