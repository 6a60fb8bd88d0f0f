/** What methods keep when they are trained together: every pair of them, and some combinations on every engine. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { refusalOf } from '../../src/common/combination';
import { engines } from '../../src/engine/engines';
import type { Engine, HostTensors } from '../../src/engine/program';
import { combinable, interpolationOf } from '../../src/peft/combine';
import { countParameters } from '../../src/peft/count';
import { foldAdapter } from '../../src/peft/fold';
import { initialize } from '../../src/peft/initialize';
import { interpolate } from '../../src/peft/interpolate';
import { findMethod, methods, parseMethodOptions } from '../../src/peft/registry';
import { frozenTensors, initialState, prepareModel, type Model } from '../../src/train/model';
import { evaluationProgram, gradientProgram } from '../../src/train/program';
import { targetFeeds } from '../../src/train/targets';
import { engineForms, engineOrSkip } from '../fixtures/engines';
import '../fixtures/quick-xla';
import { tinyArchitecture, tinyBackbone, tinyBatch } from '../fixtures/tiny-vit';

const classes = 3, batch = 4;
const base = tinyBackbone();
const ids = Object.keys(methods);
const pairs = ids.flatMap((a, i) => ids.slice(i + 1).map(b => [a, b] as const));
const sizes: Record<string, unknown> = { rank: 2, bottleneck: 4, prompts: 3 };

describe('every pair of methods', () => {
  it('is trained together with all tensors of both, or refused with the reason', async () => {
    let trained = 0;
    for (const [a, b] of pairs) {
      const refused = refusalOf([a, b].map(id => combinable({ id, method: methods[id]! })));
      if (refused) {
        assert.throws(() => findMethod(`${a}+${b}`), { message: new RegExp(escaped(refused.message)) });
        continue;
      }
      const model = await combinedModel([a, b]).catch((error: Error) => error);
      if (model instanceof Error) {
        assert.match(model.message, /has two tensors with the name '/, `${a}+${b}`);
        continue;
      }
      trained++;
      const names = new Set(model.tensors.map(({ name }) => name));
      for (const id of [a, b]) {
        const single = await modelOf(id, smallOptions(id));
        for (const { name } of single.tensors) assert.ok(names.has(name), `${a}+${b} has no ${name}`);
      }
      assert.ok(countParameters(model).trainable >= 0);
    }
    assert.ok(trained > pairs.length / 2, `only ${trained} of ${pairs.length} pairs can be combined`);
  });

  it('folds to what it computes, in either order, or says why not', async () => {
    const foldable = ids.filter(id => methods[id]!.fold && methods[id]!.tensors && typeof tryFold(id) !== 'string');
    assert.ok(foldable.length >= 4);
    const plain = await modelOf('linear', {});
    const usual = foldable.map(id => ({ id, options: smallOptions(id) }));
    const outputs = { id: 'ia3', options: { targets: ['proj', 'fc1'], feedforward: [] } };
    const everywhere = { id: 'lora', options: { ...smallOptions('lora'), targets: ['q', 'k', 'v', 'proj', 'fc1', 'fc2'] } };
    const partners = [...usual.filter(({ id }) => id !== 'ia3'), everywhere];
    const all = [
      ...usual.flatMap(one => usual.filter(({ id }) => id !== one.id).map(other => [one, other])),
      ...partners.flatMap(other => [[outputs, other], [other, outputs]]),
    ];
    for (const parts of all) {
      const model = await combinedModel(parts.map(({ id }) => id), Object.fromEntries(parts.map(({ id, options }) => [id, options]))).catch(() => null);
      if (!model) continue;
      const adapter = randomized(model);
      const folded = foldAdapter({ ...model, base, trained: adapter });
      const isHead = (name: string) => name.startsWith('head.');
      const head = Object.fromEntries(Object.entries(folded).filter(([name]) => isHead(name)));
      const backbone = Object.fromEntries(Object.entries(folded).filter(([name]) => !isHead(name)));
      const difference = largestDifference(await evaluate(engines.cpu, model, adapter), await evaluate(engines.cpu, plain, head, backbone));
      assert.ok(difference <= 2e-5, `${parts.map(({ id }) => id).join('+')} folded differs by ${difference}`);
    }
  });

  function tryFold(id: string): unknown {
    const options = smallOptions(id), method = methods[id]!;
    const start = initialize((method.tensors?.(tinyArchitecture, options) ?? []).map(t => ({ ...t, source: 'added' as const })), { base, seed: 1 });
    const floats = (name: string) => (start[name] ?? base[name])!.data as Float32Array;
    return method.fold!({ architecture: tinyArchitecture, base: floats, trained: floats }, options);
  }
});

const onEveryEngine = [['vpt-deep', 'lora'], ['vpt-shallow', 'vpt-deep'], ['ssf', 'vqt', 'bitfit'], ['kv-prefix', 'attnscale', 'vpt-deep'], ['ia3', 'lora', 'ln'], ['sift', 'lora']];

describe('combinations', () => {
  for (const parts of onEveryEngine) {
    for (const engineId of engineForms) {
      it(`${parts.join('+')} on ${engineId}: gradients equal the reference, and every tensor has one`, async t => {
        const engine = await engineOrSkip(t, engineId);
        if (!engine) return;
        const model = await combinedModel(parts).catch((error: Error) => error);
        if (model instanceof Error) return assert.match(model.message, /has two tensors with the name/);
        const state = { ...initialState(model, { base, seed: 1 }), ...randomized(model) };
        const expected = await gradients(engines.cpu, model, state);
        const own = engine === engines.cpu ? expected : await gradients(engine, model, state);
        for (const { name } of model.trainables) {
          const [a, b] = [own, expected].map(g => g[`gradient/${name}`]!.data as Float32Array) as [Float32Array, Float32Array];
          const largest = b.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
          assert.ok(largest > 1e-7, `${name} has no gradient`);
          assert.ok(largestDifference(a, b) <= 1e-4 * largest, `${name}: ${largestDifference(a, b)} against ${largest}`);
        }
      });
    }
  }

  it('is interpolated as its parts allow', async () => {
    const plain = await modelOf('linear', {});
    for (const [parts, kind] of [[['lora', 'ssf'], 'parameters'], [['bitfit', 'adaptformer'], 'module'], [['lora', 'dora'], 'folded']] as const) {
      const model = await combinedModel(parts);
      const trained = randomized(model);
      assert.deepEqual(interpolationOf(model.method, model.options), { kind });
      const logitsAt = async (alpha: number) => {
        const { method, options, backbone, adapter } = interpolate({ ...model, base, trained, frozenHead: null, alpha });
        return evaluate(engines.cpu, await prepareModel({ ...model, method, options }), adapter, backbone);
      };
      const head = { 'head.weight': trained['head.weight']!, 'head.bias': trained['head.bias']! };
      const [atStart, atEnd] = [largestDifference(await logitsAt(0), await evaluate(engines.cpu, plain, head)), largestDifference(await logitsAt(1), await evaluate(engines.cpu, model, trained))];
      assert.ok(atStart <= 1e-5 && atEnd <= 2e-5, `${parts.join('+')}: off by ${atStart} at alpha 0, ${atEnd} at 1`);
    }
    const prompts = await combinedModel(['lora', 'vpt-deep']);
    assert.throws(() => interpolate({ ...prompts, base, trained: randomized(prompts), frozenHead: null, alpha: 0.5 }), /LoRA \+ VPT-Deep cannot be interpolated: there are no prompts without effect/);
  });

  it('asks for masks of each part by its own name', async () => {
    const model = await prepareModel({
      architecture: tinyArchitecture, method: findMethod('vpt-deep+lora'), options: parseMethodOptions('vpt-deep+lora', { lora: { rank: 2 } }),
      classes, batch, dropout: true, dropPath: 0,
    });
    assert.deepEqual(model.masks.map(({ name }) => name).sort().slice(0, 2), ['dropout/blocks.0.lora/attn.lora', 'dropout/blocks.0.vpt-deep/vpt']);
  });

  it('adds the parts\' parameters, and their versions', () => {
    const count = (id: string) => countParameters({ architecture: tinyArchitecture, method: findMethod(id), options: parseMethodOptions(id, {}), classes }).trainable;
    assert.equal(count('vpt-deep+lora'), count('vpt-deep') + count('lora'));
    assert.equal(count('bitfit+ln'), count('difffit') - 4 * tinyArchitecture.width, 'what both train counts once');
    assert.equal(findMethod('ssf+lora').version, methods['ssf']!.version + methods['lora']!.version);
  });

  it('names the unknown part, and the options of a part', () => {
    assert.throws(() => findMethod('lora+lara'), /there is no method 'lara'/);
    assert.throws(() => parseMethodOptions('ssf+lora', { lora: { rank: -1 } }), /options\.lora\.rank/);
  });
});

function smallOptions(id: string): Record<string, unknown> {
  return parseMethodOptions(id, Object.fromEntries(Object.entries(sizes).filter(([name]) => name in methods[id]!.options.shape)));
}

async function combinedModel(parts: readonly string[], options = Object.fromEntries(parts.map(id => [id, smallOptions(id)]))): Promise<Model> {
  return modelOf(parts.join('+'), parseMethodOptions(parts.join('+'), options));
}

async function modelOf(id: string, options: Record<string, unknown>): Promise<Model> {
  return prepareModel({ architecture: tinyArchitecture, method: findMethod(id), options: parseMethodOptions(id, options), classes, batch, dropout: false, dropPath: 0 });
}

function randomized(model: Model): HostTensors {
  const start = initialState(model, { base, seed: 5 });
  const noise = initialize(model.trainables.map(t => ({ name: t.name, shape: t.shape, source: 'added', initial: { kind: 'normal', std: 0.1 } })), { base, seed: 6 });
  return Object.fromEntries(model.tensors.map(({ name, shape }) => [
    name, { shape, data: (start[name]!.data as Float32Array).map((x, i) => x + (noise[name]?.data[i] ?? 0)) },
  ]));
}

async function evaluate(engine: Engine, model: Model, adapter: HostTensors, backbone = base): Promise<Float32Array> {
  const session = await engine.open({ programs: { evaluate: evaluationProgram(model) }, state: adapter, constants: frozenTensors(model, backbone), threads: 1 });
  try {
    return (await session.call('evaluate', { patches: tinyBatch(batch, classes).patches }))['logits']!.data as Float32Array;
  } finally {
    await session.dispose();
  }
}

async function gradients(engine: Engine, model: Model, state: HostTensors): Promise<HostTensors> {
  const session = await engine.open({ programs: { gradient: gradientProgram(model) }, state, constants: frozenTensors(model, base), threads: 1 });
  try {
    const { labels, patches } = tinyBatch(batch, classes);
    return await session.call('gradient', { patches, ...targetFeeds(labels, { classes, labelSmoothing: 0, classWeights: null }) });
  } finally {
    await session.dispose();
  }
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
