import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { fromBinary } from '@bufbuild/protobuf';
import { engines } from '../../../src/engine/engines';
import { kernelShapes } from '../../../src/engine/graph/kernel-shapes';
import type { HostTensors, Precision, Program, Session, SessionOptions } from '../../../src/engine/program';
import { SavedModelSchema } from '../../../src/engine/tensorflow/generated/saved-model_pb';
import { encodeSavedModel } from '../../../src/engine/tensorflow/model';
import { operators } from '../../../src/engine/tensorflow/operators';
import { openFirstWay } from '../../../src/engine/tensorflow/ways';
import { tf } from '../../../src/engine/tfjs';
import { engineOrSkip } from '../../fixtures/engines';
import { tinyFeeds, tinyGradients, tinyWeights, worstError } from '../../fixtures/gradient-case';

const forms = ['xla', 'graph', 'eager'] as const;
type Form = typeof forms[number];

afterEach(() => { delete process.env['PEFT_LAB_TENSORFLOW']; });

const vector = (...values: number[]) => ({ shape: [values.length], data: Float32Array.from(values) });

function open(options: Omit<SessionOptions, 'threads'>, form: Form = 'xla'): Promise<Session> {
  process.env['PEFT_LAB_TENSORFLOW'] = form;
  return engines.tensorflow.open({ ...options, threads: 1 });
}

async function gradients(form: Form, precision: Precision = 'f32'): Promise<{ fetched: HostTensors; how: string }> {
  const session = await open({ programs: { gradients: tinyGradients() }, state: tinyWeights(), constants: {}, precision }, form);
  const fetched = await session.call('gradients', tinyFeeds());
  const { how, reasons } = session.execution!();
  assert.deepEqual(reasons, []);
  await session.dispose();
  return { fetched, how };
}

async function referenceGradients(): Promise<HostTensors> {
  const session = await engines.cpu.open({ programs: { gradients: tinyGradients() }, state: tinyWeights(), constants: {}, threads: 1 });
  return session.call('gradients', tinyFeeds());
}

it('a SavedModel says what it was told', () => {
  const model = fromBinary(SavedModelSchema, encodeSavedModel({
    nodes: [{ name: 'x', operator: 'Placeholder', inputs: [], attributes: { dtype: { type: 'int32' }, shape: { shape: [2, 3] } } }],
    functions: [{
      name: 'f', compiled: true, inputs: [{ name: 'a', type: 'float32' }, { name: 'v', type: 'resource' }], outputs: [{ name: 'r0', type: 'float32', from: 'n0:z:0' }],
      nodes: [{ name: 'n0', operator: 'AddV2', inputs: ['a', 'a'], attributes: { T: { type: 'float32' } } }],
    }],
  }));
  const { metaInfoDef, graphDef } = model.metaGraphs[0]!;
  assert.deepEqual(metaInfoDef!.tags, ['serve']);
  const placeholder = graphDef!.node[0]!;
  assert.deepEqual([placeholder.op, placeholder.attr['dtype']!.value], ['Placeholder', { case: 'type', value: 3 }]);
  const { signature, ret, attr, nodeDef } = graphDef!.library!.function[0]!;
  assert.deepEqual([signature!.inputArg.map(a => a.type), ret, attr['_XlaMustCompile']!.value], [[1, 20], { r0: 'n0:z:0' }, { case: 'b', value: true }]);
  assert.deepEqual(nodeDef[0]!.input, ['a', 'a']);
});

it('every kernel that can be traced can be written', () => {
  assert.deepEqual(Object.keys(kernelShapes).filter(kernel => !operators[kernel]), []);
});

describe('each way of TensorFlow to run a program', () => {
  for (const [form, says] of [['xla', /compiled by XLA$/], ['graph', /as a TensorFlow graph, without XLA$/], ['eager', /operation by operation, by tfjs-node$/]] as const) {
    it(`${form}: gradients equal the reference's, twice the same bits, and it says how it runs`, async t => {
      if (!await engineOrSkip(t, 'tensorflow')) return;
      const [{ fetched, how }, again] = [await gradients(form), await gradients(form)];
      const error = worstError(fetched, await referenceGradients());
      assert.ok(error < 1e-5, `worst tensor is off by ${error}`);
      assert.match(how, says);
      for (const [name, { data }] of Object.entries(fetched)) assert.deepEqual(data, again.fetched[name]!.data, name);
    });
  }

  for (const form of ['xla', 'graph'] as const) {
    it(`${form}: in bf16, gradients are within its own bound, and not f32's`, async t => {
      if (!await engineOrSkip(t, 'tensorflow')) return;
      const error = worstError((await gradients(form, 'bf16')).fetched, await referenceGradients());
      assert.ok(error > 1e-4 && error < 5e-2, `worst tensor is off by ${error}`);
    });
  }

  it('tf32 is refused where there is no GPU, and bf16 operation by operation', async t => {
    const engine = await engineOrSkip(t, 'tensorflow');
    if (!engine) return;
    await assert.rejects(gradients('eager', 'bf16'), { name: 'UserError', message: /in f32 only/ });
    await assert.rejects(gradients('xla', 'tf32'), { name: 'UserError', message: /no GPU/ });
  });
});

/** Everything that has a rule of its own in the table of operators, on inputs without symmetry. */
const kernels: Record<string, (x: tf.Tensor) => tf.Tensor> = {
  'step and relu': x => tf.add(tf.step(tf.sub(x, 2.5)), tf.relu(tf.sub(x, 3))),
  'select by comparison': x => tf.where(tf.greater(x, 2.5), tf.square(x), tf.neg(x)),
  'comparisons cast': x => tf.add(tf.cast(tf.lessEqual(x, 2), 'float32'), tf.cast(tf.equal(x, 4), 'float32')),
  'pad, slice and tile': x => tf.tile(tf.slice(tf.pad(x as tf.Tensor2D, [[1, 0], [0, 2]], 7), [0, 1], [3, 3]), [1, 2]),
  'split and concat': x => tf.concat(tf.split(x, [1, 2], 1).reverse(), 1),
  'reductions over both axes': x => tf.add(tf.add(tf.sum(x, 0, true), tf.max(x, 1, true)), tf.mean(x)),
  'products with transposed sides': x => tf.matMul(tf.matMul(x as tf.Tensor2D, x as tf.Tensor2D, true, false), x as tf.Tensor2D, false, true),
  'batched products, one side broadcast': x => tf.matMul(tf.reshape(tf.concat([x, tf.mul(x, 2)], 0), [2, 2, 3]), tf.reshape(x, [1, 3, 2])),
  'softmax and its logarithm': x => tf.add(tf.softmax(x), tf.logSoftmax(x)),
  'powers, roots and minima': x => tf.minimum(tf.add(tf.pow(x, tf.scalar(1.5)), tf.rsqrt(x)), tf.add(tf.reciprocal(x), tf.abs(tf.sub(x, 9)))),
  'sum of many': x => tf.addN([x, tf.exp(x), tf.log(x), tf.tanh(x), tf.sigmoid(x)]),
  'transposed expansion': x => tf.expandDims(tf.transpose(x), 1),
};

describe('operators of TensorFlow give what the reference gives', () => {
  const program: Program = {
    feeds: [{ name: 'x', shape: [2, 3], dtype: 'float32' }],
    run: ({ x }) => ({ fetches: Object.fromEntries(Object.entries(kernels).map(([name, kernel]) => [name, kernel(x!)])), state: {} }),
  };
  const feeds = { x: { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6.5) } };
  for (const form of forms) {
    it(form, async t => {
      if (!await engineOrSkip(t, 'tensorflow')) return;
      const session = await open({ programs: { program }, state: {}, constants: {} }, form);
      const [own, reference] = [await session.call('program', feeds), await (await engines.cpu.open({ programs: { program }, state: {}, constants: {}, threads: 1 })).call('program', feeds)];
      assert.match(session.execution!().how, { xla: /by XLA$/, graph: /without XLA$/, eager: /tfjs-node$/ }[form]);
      await session.dispose();
      for (const [name, { shape, data }] of Object.entries(reference)) {
        assert.deepEqual([...own[name]!.shape], [...shape], name);
        data.forEach((value, i) => assert.ok(Math.abs(own[name]!.data[i]! - value) <= 1e-5 * Math.max(1, Math.abs(value)), `${name}: ${own[name]!.data[i]} for ${value}`));
      }
    });
  }
});

v8.setFlagsFromString('--expose-gc');
const collectGarbage = vm.runInNewContext('gc') as () => void;

describe('state in variables', () => {
  const swap: Program = { feeds: [], run: ({ a, b }) => ({ fetches: {}, state: { a: b!, b: a! } }) };
  const add: Program = { feeds: [{ name: 'x', shape: [3], dtype: 'float32' }], run: ({ a, x }) => ({ fetches: { before: a! }, state: { a: tf.add(a!, x!) } }) };

  for (const form of forms) {
    it(`${form}: new values are made of old ones, whatever the order; programs share them`, async t => {
      if (!await engineOrSkip(t, 'tensorflow')) return;
      const session = await open({ programs: { swap, add }, state: { a: vector(1, 2, 3), b: vector(4, 5, 6) }, constants: {} }, form);
      assert.deepEqual(await session.call('swap', {}), {});
      assert.deepEqual([...(await session.call('add', { x: vector(1, 1, 1) }))['before']!.data], [4, 5, 6]);
      const state = await session.readState();
      assert.deepEqual([[...state['a']!.data], [...state['b']!.data]], [[5, 6, 7], [1, 2, 3]]);
      await assert.rejects(session.writeState({ c: vector(1) }), /no state 'c'/);
      await session.dispose();
    });
  }

  it('what is written is copied: the caller may change its array', async t => {
    if (!await engineOrSkip(t, 'tensorflow')) return;
    const session = await open({ programs: { add }, state: { a: vector(1, 2, 3) }, constants: {} }, 'graph');
    // Of 64 arrays some lie as TensorFlow wants them, and those it would not copy by itself.
    const arrays = Array.from({ length: 64 }, (_, i) => new Float32Array(new ArrayBuffer(64 * 64), 16 * (i % 4), 3).fill(7));
    for (const data of arrays) {
      await session.writeState({ a: { shape: [3], data } });
      data.fill(0);
      assert.deepEqual([...(await session.readState())['a']!.data], [7, 7, 7]);
    }
    await session.dispose();
  });

  for (const form of ['xla', 'graph'] as const) {
    it(`${form}: 500 steps do not grow the memory`, async t => {
      if (!await engineOrSkip(t, 'tensorflow')) return;
      const { session, feeds } = await openMomentum(form);
      const leastMemory = async (steps: number) => {
        let least = Infinity;
        for (let i = 1; i <= steps; i++) {
          await session.call('step', feeds);
          if (i <= steps / 2 || i % 25 > 0) continue;
          collectGarbage(); // fetched arrays that nobody holds any more
          least = Math.min(least, process.memoryUsage().rss / 2 ** 20);
        }
        return least;
      };
      const [before, after] = [await leastMemory(300), await leastMemory(500)];
      await session.dispose();
      assert.ok(after < 1.02 * before, `${before.toFixed(0)} MiB in the first 300 steps, ${after.toFixed(0)} in the next 500`);
    });
  }
});

/** A step on a megabyte of state with a megabyte of feed, which a leak of either would soon show. */
async function openMomentum(form: Form): Promise<{ session: Session; feeds: HostTensors }> {
  const shape = [512, 512];
  const step: Program = {
    feeds: [{ name: 'gradient', shape, dtype: 'float32' }],
    run: ({ gradient, parameter, moment }) => {
      const next = tf.add(tf.mul(moment!, 0.9), gradient!);
      return { fetches: { size: tf.sum(tf.square(next), 0) }, state: { moment: next, parameter: tf.sub(parameter!, tf.mul(next, 0.1)) } };
    },
  };
  const zeros = () => ({ shape, data: new Float32Array(512 * 512) });
  return { session: await open({ programs: { step }, state: { parameter: zeros(), moment: zeros() }, constants: {} }, form), feeds: { gradient: { shape, data: new Float32Array(512 * 512).fill(0.01) } } };
}

describe('falling back', () => {
  const double: Program = { feeds: [], run: ({ x }) => ({ fetches: { y: x! }, state: { x: tf.mul(x!, 2) } }) };

  it('to tfjs-node where a program has a kernel that cannot be written, and it says so', async t => {
    if (!await engineOrSkip(t, 'tensorflow')) return;
    const cumulate: Program = { feeds: [], run: ({ x }) => ({ fetches: { y: tf.cumsum(x!) }, state: {} }) };
    const session = await open({ programs: { cumulate, double }, state: { x: vector(1, 2, 3) }, constants: {} });
    assert.deepEqual([...(await session.call('cumulate', {}))['y']!.data], [1, 3, 6]);
    const { how, reasons } = session.execution!();
    assert.match(how, /by tfjs-node$/);
    assert.match(reasons.join('; '), /^not compiled by XLA, since .*no kernel 'Cumsum'.*; not as a TensorFlow graph/);
    await session.dispose();
  });

  const opened: string[] = [];
  const way = (description: string, refuses: (call: number) => boolean) => ({
    description,
    async open(state: HostTensors): Promise<Session> {
      opened.push(description);
      if (refuses(0)) throw new Error(`${description} does not open`);
      const inner = await engines.cpu.open({ programs: { double, other: double }, state, constants: {}, threads: 1 });
      let calls = 0;
      return {
        ...inner,
        call: (name, feeds) => (refuses(++calls) ? Promise.reject(new Error(`${description} fails`)) : inner.call(name, feeds)),
      };
    },
  });

  it('takes the state along, at opening and at the first call of a program, but not later', async () => {
    const ways = [way('fast', call => call === 0), way('middling', call => call === 2), way('slow', call => call === 3)];
    const session = await openFirstWay({ programs: { double, other: double }, state: { x: vector(1) }, ways, title: 'here' });
    assert.deepEqual(opened, ['fast', 'middling']);
    assert.deepEqual([...(await session.call('double', {}))['y']!.data], [1]);
    assert.deepEqual([...(await session.call('other', {}))['y']!.data], [2]); // the second call of 'middling' fails, the first of this program
    assert.deepEqual(session.execution!(), { how: 'here slow', reasons: ['not fast, since fast does not open', 'not middling, since middling fails'] });
    assert.deepEqual([...(await session.call('double', {}))['y']!.data], [4]);
    await assert.rejects(session.call('double', {}), /slow fails/);
  });

  it('goes on to the next way where a program first fails in this one, though it ran in the one before', async () => {
    const ways = [way('fast', call => call === 2), way('middling', call => call === 2), way('slow', () => false)];
    const session = await openFirstWay({ programs: { double, other: double }, state: { x: vector(1) }, ways, title: 'here' });
    for (const [i, name] of ['double', 'other', 'double'].entries()) assert.deepEqual([...(await session.call(name, {}))['y']!.data], [2 ** i]);
    assert.equal(session.execution!().how, 'here slow');
  });

  it('throws the last way\'s error when none is left', async () => {
    const fails = (description: string) => ({ description, open: () => Promise.reject(new Error(`${description} is broken`)) });
    await assert.rejects(openFirstWay({ programs: { double }, state: {}, ways: [fails('a'), fails('b')], title: 't' }), /b is broken/);
  });
});

