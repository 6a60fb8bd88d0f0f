import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { engines } from '../../../src/engine/engines';
import { optionalPasses as onnxPasses } from '../../../src/engine/graph';
import { passes } from '../../../src/engine/graph/passes';
import { optionalPasses } from '../../../src/engine/native/passes';
import type { Node, Trace } from '../../../src/engine/graph/nodes';
import { transposeFirst } from '../../../src/engine/graph/transpose-first';
import type { EngineId, HostTensors, Program, Weights } from '../../../src/engine/program';
import { tf } from '../../../src/engine/tfjs';
import { engineOrSkip } from '../../fixtures/engines';
import { tinyFeeds, tinyGradients, tinyVit, tinyWeights, worstError } from '../../fixtures/gradient-case';

const architectures = {
  plain: tinyVit,
  'pre-norm, no patch bias, quick-gelu': { ...tinyVit, preNorm: true, patchBias: false, activation: 'quick-gelu' as const },
  'LayerScale': { ...tinyVit, layerScale: true },
};

function largeProduct(rows: number, columns: number): Node {
  const value = (id: number, ...shape: number[]) => ({ id, shape, dtype: 'float32' as const });
  return { kernel: 'BatchMatMul', inputs: [value(1, 256, rows), value(2, 256, columns)], outputs: [value(3, rows, columns)], attributes: { transposeA: true } };
}

async function gradients(id: EngineId, architecture = tinyVit): Promise<HostTensors> {
  const session = await engines[id].open({ programs: { gradients: tinyGradients(architecture) }, state: tinyWeights(architecture), constants: {}, threads: 1 });
  const fetched = await session.call('gradients', tinyFeeds(architecture));
  await session.dispose();
  return fetched;
}

describe('gradients equal the reference\'s', () => {
  for (const [name, architecture] of Object.entries(architectures)) {
    for (const id of ['wasm', 'graph', 'native', 'tensorflow'] as const) {
      it(`${id}, ${name}`, async t => {
        if (!await engineOrSkip(t, id)) return;
        const error = worstError(await gradients(id, architecture), await gradients('cpu', architecture));
        assert.ok(error < 1e-5, `worst tensor is off by ${error}`);
      });
    }
  }
});

describe('each pass over the graph leaves the numbers alone', () => {
  afterEach(() => { delete process.env['PEFT_LAB_WITHOUT_PASSES']; });
  const cases = [
    ...[...passes, ...onnxPasses].map(({ name }) => ['graph', name] as const), ...[...passes, ...optionalPasses].map(({ name }) => ['native', name] as const),
  ];
  for (const [id, name] of cases) {
    it(`${id} without ${name}`, async t => {
      if (!await engineOrSkip(t, id)) return;
      const all = await gradients(id);
      process.env['PEFT_LAB_WITHOUT_PASSES'] = name;
      const without = await gradients(id);
      const error = worstError(all, without);
      assert.ok(error < 2e-6, `worst tensor differs by ${error}`);
    });
  }

  for (const [rows, columns] of [[300, 260], [800, 260]] as const) it(`graph multiplies [${rows}, 256] by [256, ${columns}] the same turned`, async () => {
    const shapes = { a: [256, rows], b: [256, columns] };
    const product: Program = { feeds: Object.entries(shapes).map(([name, shape]) => ({ name, shape, dtype: 'float32' as const })), run: ({ a, b }) => ({ fetches: { product: tf.matMul(a!, b!, true) }, state: {} }) };
    const feeds = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, { shape, data: Float32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => Math.sin(i * 0.7 + shape[1]!)) }]));
    const compute = async () => {
      const session = await engines.graph.open({ programs: { product }, state: {}, constants: {}, threads: 1 });
      const fetched = await session.call('product', feeds);
      await session.dispose();
      return fetched;
    };
    const turned = await compute();
    process.env['PEFT_LAB_WITHOUT_PASSES'] = 'transpose-first';
    assert.ok(worstError(turned, await compute()) < 2e-6);
    const trace: Trace = { nodes: [largeProduct(rows, columns)], inputs: new Map(), fetches: new Map(), updates: new Map() };
    assert.deepEqual(transposeFirst(trace).nodes.map(({ kernel }) => kernel), rows > 3 * columns ? ['Transpose', 'BatchMatMul', 'Transpose'] : ['Transpose', 'BatchMatMul']);
  });

  it('native without any of its own', async t => {
    if (!await engineOrSkip(t, 'native')) return;
    const all = await gradients('native');
    process.env['PEFT_LAB_WITHOUT_PASSES'] = optionalPasses.map(({ name }) => name).join();
    assert.ok(worstError(all, await gradients('native')) < 2e-6);
  });

  it('and an unknown one is refused', async () => {
    process.env['PEFT_LAB_WITHOUT_PASSES'] = 'narrow-row';
    await assert.rejects(gradients('graph'), { name: 'UserError', message: /no pass 'narrow-row'[^]*drop-identities, .*narrow-rows/ });
  });
});

/** state x: momentum and position of a ball that a feed pushes; `v` can be written in place, `x` is also read late. */
const ball: Program = {
  feeds: [{ name: 'push', shape: [3], dtype: 'float32' }],
  run: ({ push, x, v, drag }) => {
    const velocity = tf.add(tf.mul(v!, drag!), push!);
    const position = tf.add(x!, velocity);
    return { fetches: { moved: tf.sub(position, x!) }, state: { x: position, v: velocity } };
  },
};
const vector = (...values: number[]) => ({ shape: [values.length], data: Float32Array.from(values) });

describe('sessions', () => {
  for (const id of ['graph', 'native'] as const) it(`${id} computes the same with weights built in and fed`, async t => {
    if (!await engineOrSkip(t, id)) return;
    const compute = async (weights: Weights) => {
      const session = await engines[id].open({ programs: { gradients: tinyGradients() }, state: {}, constants: tinyWeights(), threads: 1, weights });
      const fetched = await session.call('gradients', tinyFeeds());
      await session.dispose();
      return fetched;
    };
    const [builtIn, fed] = [await compute('built-in'), await compute('fed')];
    assert.ok(worstError(builtIn, fed) < 2e-6);
    assert.ok(worstError(fed, await gradients('cpu')) < 1e-5);
  });

  it('graph keeps a state that is given to it, and lets no copies of it pile up', async () => {
    const size = 2 ** 25;
    const grow: Program = { feeds: [], run: ({ x }) => ({ fetches: {}, state: { x: tf.add(x!, 1) } }) };
    const given = new Float32Array(size);
    const session = await engines.graph.open({ programs: { grow }, state: { x: { shape: [size], data: given } }, ownsState: true, constants: {}, threads: 1 });
    for (let i = 0; i < 5; i++) await session.call('grow', {});
    const mebibytes = process.memoryUsage().arrayBuffers / 2 ** 20;
    assert.ok(mebibytes < 450, `${mebibytes.toFixed(0)} MiB of arrays; the state is 128, and five copies are 640`);
    assert.deepEqual([given[0], given[size - 1]], [5, 5]);
    await session.dispose();
  });

  for (const id of Object.keys(engines) as EngineId[]) {
    const open = () => engines[id].open({ programs: { ball }, state: { x: vector(0, 0, 0), v: vector(1, 2, 3) }, constants: { drag: { shape: [], data: Float32Array.of(0.5) } }, threads: 1 });

    it(`${id} keeps state between calls, reads and writes it`, async t => {
      if (!await engineOrSkip(t, id)) return;
      const session = await open();
      const push = vector(1, 0, -1);
      assert.deepEqual([...(await session.call('ball', { push }))['moved']!.data], [1.5, 1, 0.5]);
      assert.deepEqual([...(await session.call('ball', { push }))['moved']!.data], [1.75, 0.5, -0.75]);
      assert.deepEqual([...(await session.readState())['x']!.data], [3.25, 1.5, -0.25]);
      await session.writeState({ v: vector(0, 0, 0) });
      assert.deepEqual([...(await session.call('ball', { push }))['moved']!.data], [1, 0, -1]);
      await session.dispose();
    });

    it(`${id} refuses feeds that do not fit`, async t => {
      if (!await engineOrSkip(t, id)) return;
      const session = await open();
      await assert.rejects(session.call('ball', {}), /no feed 'push'/);
      await assert.rejects(session.call('ball', { push: vector(1, 2) }), /\[2\] with 2 values, expected \[3\]/);
      await assert.rejects(session.call('ball', { push: vector(1, 2, 3), pull: vector(1) }), /unknown feed 'pull'/);
      await assert.rejects(session.call('bal', { push: vector(1, 2, 3) }), /no program 'bal'/);
      await session.dispose();
    });

    it(`${id} gives the same bits twice`, async t => {
      if (!await engineOrSkip(t, id)) return;
      const [a, b] = [await gradients(id), await gradients(id)];
      for (const name of Object.keys(a)) assert.deepEqual(a[name]!.data, b[name]!.data, name);
    });
  }
});

it('an engine refuses a precision that it does not have, and says who has it', async () => {
  const open = engines.cpu.open({ programs: { ball }, state: {}, constants: {}, threads: 1, precision: 'tf32' });
  await assert.rejects(open, { name: 'UserError', message: /engine cpu: it cannot compute in tf32, only in f32\n {2}Set recipe.precision to "f32"/ });
});

it('the graph engine fails closed, naming the kernel it lacks', async () => {
  const program: Program = { feeds: [], run: ({ x }) => ({ fetches: { y: tf.cumsum(x!) }, state: {} }) };
  const session = await engines.graph.open({ programs: { program }, state: { x: vector(1, 2, 3) }, constants: {}, threads: 1 });
  await assert.rejects(session.call('program', {}), { name: 'UserError', message: /no kernel 'Cumsum'/ });
  await session.dispose(); // which has nothing to add
});
