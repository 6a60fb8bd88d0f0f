/** The project's own kernels: each against the reference, with vectors of this processor and twice as wide ones; and what a plan of them promises. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { normals, streamKey } from '../../../src/common/random';
import { engines } from '../../../src/engine/engines';
import { sizeOf, type Trace, type Value } from '../../../src/engine/graph/nodes';
import { optimize } from '../../../src/engine/graph/passes';
import { trace } from '../../../src/engine/graph/trace';
import { gatherTogether, isTogether } from '../../../src/engine/native/compute-together';
import { findHomes } from '../../../src/engine/native/homes';
import { layOut } from '../../../src/engine/native/layout';
import { planMemory } from '../../../src/engine/native/memory';
import { forKernels } from '../../../src/engine/native/passes';
import type { Engine, HostTensor, HostTensors, Program } from '../../../src/engine/program';
import { tf } from '../../../src/engine/tfjs';
import { engineOrSkip } from '../../fixtures/engines';
import { tinyFeeds, tinyGradients, tinyWeights, worstError } from '../../fixtures/gradient-case';
import { kernelCases, mlpOfManyRows } from '../../fixtures/kernel-cases';

async function run(engine: Engine, program: Program, feeds: HostTensors, threads = 2): Promise<HostTensors> {
  const session = await engine.open({ programs: { program }, state: {}, constants: {}, threads });
  const fetched = await session.call('program', feeds);
  await session.dispose();
  return fetched;
}

/** The largest difference as a share of the largest value; what is not finite must be so on both sides. */
function worstDifference(measured: HostTensors, reference: HostTensors): number {
  return Math.max(...Object.entries(reference).map(([name, { data }]) => {
    const values = [...data].filter(Number.isFinite);
    const differences = [...data].map((value, i) => (Object.is(value, measured[name]!.data[i]!) ? 0 : Math.abs(value - measured[name]!.data[i]!)));
    return largestOf(differences.map(d => (Number.isNaN(d) ? Infinity : d))) / (largestOf(values) || 1e-30);
  }));
}

function largestOf(values: Iterable<number>): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return largest;
}

describe('every kernel computes what the reference does', () => {
  for (const [name, { program, feeds }] of Object.entries(kernelCases)) {
    it(name, async t => {
      const native = await engineOrSkip(t, 'native');
      if (!native) return;
      const measured = await run(native, program, feeds);
      const error = worstDifference(measured, await run(engines.cpu, program, feeds));
      assert.ok(error < 5e-6, `off by ${error} of the largest value`);
      const alone = await run(native, program, feeds, 1);
      for (const fetch of Object.keys(measured)) assert.deepEqual(alone[fetch]!.data, measured[fetch]!.data, `${fetch} depends on the threads`);
    });
  }
});

describe('products in quarters', () => {
  const program: Program = {
    feeds: [{ name: 'a', shape: [300, 800], dtype: 'float32' }, { name: 'b', shape: [800, 384], dtype: 'float32' }],
    run: ({ a, b }) => ({ fetches: { c: tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D) }, state: {} }),
  };
  /** Rows of very different size, as the gradients of easy and hard images are, and a few columns that stand out. */
  const feeds: HostTensors = {
    a: { shape: [300, 800], data: normals(streamKey(5, 'a'), 300 * 800).map((x, i) => x * 10 ** -(Math.floor(i / 800) % 4) * (i % 800 < 3 ? 50 : 1)) },
    b: { shape: [800, 384], data: normals(streamKey(5, 'b'), 800 * 384) },
  };
  afterEach(() => { delete process.env['PEFT_LAB_WITHOUT_PASSES']; });

  it('round about as much as products row by row do, also where rows are of very different size', async t => {
    const native = await engineOrSkip(t, 'native');
    if (!native) return;
    const inQuarters = (await run(native, program, feeds))['c']!.data;
    process.env['PEFT_LAB_WITHOUT_PASSES'] = 'multiply-in-quarters';
    const plain = (await run(native, program, feeds))['c']!.data;
    const exact = exactProduct(feeds['a']!, feeds['b']!);
    const errorOf = (data: ArrayLike<number>) => largestOf(exact.map((x, i) => x - data[i]!));
    const largest = largestOf(exact);
    assert.notDeepEqual(inQuarters, plain, 'this product is not computed in quarters');
    assert.ok(errorOf(inQuarters) < 3e-6 * largest && errorOf(inQuarters) < 3 * errorOf(plain), `${errorOf(inQuarters) / largest}, ${errorOf(plain) / largest}`);
  });
});

describe('rows computed together', () => {
  const { program, feeds } = mlpOfManyRows;
  /** As it is trained: weights are frozen and laid out beforehand. */
  const frozen: Program = { feeds: program.feeds.filter(({ name }) => name === 'x' || name === 'weights'), run: program.run };
  const { x, weights, ...constants } = feeds as { x: HostTensor; weights: HostTensor } & HostTensors;
  afterEach(() => { delete process.env['PEFT_LAB_WITHOUT_PASSES']; });

  for (const [name, options] of Object.entries({
    'weights that change': { programs: { program }, constants: {} },
    'frozen weights, laid out beforehand': { programs: { program: frozen }, constants, weights: 'built-in' as const },
  })) it(`are the same bits as rows computed node by node, with any number of threads: ${name}`, async t => {
    const native = await engineOrSkip(t, 'native');
    if (!native) return;
    const compute = async (threads: number) => {
      const session = await native.open({ state: {}, threads, ...options });
      const fetched = await session.call('program', name.startsWith('frozen') ? { x, weights } : feeds);
      await session.dispose();
      return fetched;
    };
    const together = [await compute(1), await compute(2), await compute(7)];
    process.env['PEFT_LAB_WITHOUT_PASSES'] = 'compute-together';
    const apart = await compute(2);
    for (const fetched of together) for (const fetch of Object.keys(apart)) assert.deepEqual(fetched[fetch]!.data, apart[fetch]!.data, fetch);
  });

  it('go from layer to layer, and only what is read elsewhere lies in memory', async () => {
    const list = forKernels(optimize(await trace({ program, state: {}, constants: {} }), { without: ['fold-scales'] }));
    const { layouts, nodes } = layOut(list);
    const fetched = new Set(list.fetches.values());
    const groups = gatherTogether(nodes, layouts, root => fetched.has(root)).filter(isTogether);
    const kernels = groups.map(group => group.nodes.map(({ kernel }) => kernel));
    assert.ok(kernels[0]!.filter(kernel => kernel === 'Product').length >= 4 && kernels[0]!.includes('Norm') && kernels[0]!.includes('Chain'), kernels[0]!.join());
    assert.ok(kernels.slice(1).some(group => ['NormGradient', 'Product', 'Sum'].every(kernel => group.includes(kernel))), kernels.map(group => group.join()).join('; '));
    for (const { nodes: inside, ownRows, floatsOfRow, outputs } of groups) {
      const outside = nodes.filter(node => !inside.includes(node));
      for (const [value, bytes] of ownRows) {
        assert.ok(bytes % 64 === 0 && bytes + value.shape[1]! * 4 <= floatsOfRow * 4);
        assert.ok(!outputs.includes(value) && !fetched.has(value) && !outside.some(({ inputs }) => inputs.some(input => layouts(input).root === value)));
      }
    }
    assert.ok(groups.some(({ ownRows }) => ownRows.size > 1));
  });

  it('leave every node after those whose results it reads', async () => {
    for (const list of [forKernels(await trace({ program, state: {}, constants: {} })), forKernels(await trace({ program: tinyGradients(), state: tinyWeights(), constants: {} }))]) {
      const made = new Set<Value>();
      for (const { inputs, outputs } of list.nodes) {
        for (const input of inputs) assert.ok(input.source || made.has(input));
        for (const output of outputs) made.add(output);
      }
    }
  });
});

/** In double precision. */
function exactProduct({ shape: [m, k], data: a }: HostTensors[string], { shape: [, n], data: b }: HostTensors[string]): Float64Array {
  const c = new Float64Array(m! * n!);
  for (let i = 0; i < m!; i++) for (let p = 0; p < k!; p++) for (let j = 0; j < n!; j++) c[i * n! + j]! += a[i * k! + p]! * b[p * n! + j]!;
  return c;
}

describe('with vectors of 512 bits, as on processors that have them', () => {
  it('every kernel computes what it does with those of this processor', async t => {
    if (!await engineOrSkip(t, 'native') || process.arch !== 'x64' || process.platform !== 'linux') return t.skip('there are no kernels for this processor, or no way to widen them');
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-wide-'));
    t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
    const wide = compileWide(folder);
    if (!wide) return t.skip('there is no C compiler');
    const script = path.join(folder, 'compare.cjs');
    fs.writeFileSync(script, `process.env.PEFT_LAB_KERNELS = process.argv[2]; require(process.argv[3]).computeAll().then(results => process.stdout.write(JSON.stringify(results)));`);
    const bundle = path.join(folder, 'compute.cjs');
    await bundleCompute(bundle);
    const compute = (kernels: string) => JSON.parse(execFileSync(process.execPath, [script, kernels, bundle], { encoding: 'utf8', maxBuffer: 2 ** 28 })) as Record<string, Record<string, number[]>>;
    const [narrow, broad] = [compute(''), compute(wide)];
    for (const [name, fetches] of Object.entries(narrow)) {
      for (const [fetch, values] of Object.entries(fetches)) {
        const largest = largestOf(values.map(v => v ?? 0));
        const difference = largestOf(values.map((v, i) => (v ?? 0) - (broad[name]![fetch]![i] ?? 0)));
        assert.ok(difference <= 5e-6 * largest, `${name}, ${fetch}: ${difference} of ${largest}`);
      }
    }
  });
});

/** The kernels with vectors of 64 bytes, in instructions for 32; null without a compiler. */
function compileWide(folder: string): string | null {
  const sources = path.resolve('src/engine/native/kernels'), target = path.join(folder, 'wide.node');
  const flags = ['-O2', '-std=gnu11', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math', '-fPIC', '-w', '-mavx2', '-mfma', '-DWIDE_VECTORS', '-DVARIANT=avx2', '-DHAS_AVX2', `-I${path.resolve('node_modules/node-api-headers/include')}`];
  try {
    execFileSync(process.env['CC'] ?? 'cc', [...flags, '-shared', ...['kernels.c', 'addon.c', 'onnxruntime.c', 'pool.c'].map(file => path.join(sources, file)), '-o', target, '-lm', '-lpthread', '-ldl'], { stdio: 'ignore' });
    return target;
  } catch {
    return null;
  }
}

async function bundleCompute(outfile: string): Promise<void> {
  const { build } = await import('esbuild');
  await build({
    stdin: {
      resolveDir: path.resolve('test/unit/engine'), loader: 'ts',
      contents: `
        import { openNative } from '../../../src/engine/native';
        import { kernelCases, mlpOfManyRows } from '../../fixtures/kernel-cases';
        export async function computeAll() {
          const results = {};
          for (const [name, { program, feeds }] of Object.entries(kernelCases)) {
            const session = await openNative({ programs: { program }, state: {}, constants: {}, threads: 1 });
            results[name] = Object.fromEntries(Object.entries(await session.call('program', feeds)).map(([fetch, { data }]) => [fetch, [...data]]));
          }
          return results;
        }`,
    },
    outfile, bundle: true, platform: 'node', format: 'cjs', target: 'node20', mainFields: ['module', 'main'], logLevel: 'warning',
    define: { __dirname: JSON.stringify(path.resolve('dist')) },
  });
}

describe('the plan of a program', () => {
  const traced = async (): Promise<Trace> => forKernels(optimize(await trace({ program: tinyGradients(), state: tinyWeights(), constants: {} }), { without: ['fold-scales'] }));

  it('lets no two values that are there together share a byte', async () => {
    const list = await traced();
    const { layouts, nodes } = layOut(list);
    const { offsets, bytes } = planMemory(nodes, layouts, () => false);
    const span = new Map<Value, [number, number]>();
    nodes.forEach(({ inputs, outputs }, at) => [...inputs, ...outputs].map(value => layouts(value).root).filter(root => !root.source)
      .forEach(root => span.set(root, [span.get(root)?.[0] ?? at, at])));
    const roots = [...span.keys()];
    for (const [i, a] of roots.entries()) {
      assert.ok(offsets.get(a)! % 64 === 0 && offsets.get(a)! + sizeOf(a.shape) * 4 <= bytes);
      for (const b of roots.slice(i + 1)) {
        const together = span.get(a)![0] <= span.get(b)![1] && span.get(b)![0] <= span.get(a)![1];
        const apart = offsets.get(a)! + sizeOf(a.shape) * 4 <= offsets.get(b)! || offsets.get(b)! + sizeOf(b.shape) * 4 <= offsets.get(a)!;
        assert.ok(!together || apart, `values ${a.id} and ${b.id} overlap`);
      }
    }
    const all = roots.reduce((sum, root) => sum + sizeOf(root.shape) * 4, 0);
    assert.ok(bytes < all / 2, `${bytes} of ${all} bytes`);
  });

  it('takes the work of most nodes into others, and copies nothing where a view or a place will do', async () => {
    const list = await traced();
    const fetched = new Set(list.fetches.values());
    const kernels = layOut(list).nodes.filter(({ outputs }) => !outputs.some(output => fetched.has(output))).map(({ kernel }) => kernel);
    for (const kernel of ['Reshape', 'SplitV', 'Slice', 'BatchMatMul', 'MatMulAdd', 'LayerNormalize', 'GeluGradient', 'Multiply', 'Add']) assert.ok(!kernels.includes(kernel), kernel);
    assert.equal(kernels.filter(kernel => kernel === 'Concat').length, 1, 'gradients of q, k and v are written where they stand side by side, but for the padded ones of the last block');
  });

  it('writes new state over the old where nothing reads that any more', async () => {
    const program: Program = { feeds: [], run: ({ a, b, c }) => ({ fetches: {}, state: { a: tf.add(a!, b!), b: tf.mul(b!, 2), c: tf.tile(tf.slice(c!, [0], [1]), [4]) } }) };
    const state = Object.fromEntries(['a', 'b', 'c'].map(name => [name, { shape: [4], data: new Float32Array(4) }]));
    const list = forKernels(await trace({ program, state, constants: {} }));
    const { layouts, nodes } = layOut(list);
    const homes = findHomes(nodes, list, layouts);
    assert.deepEqual([...homes.ofRoot.values()].map(({ name }) => name).sort(), ['a', 'b']);
    assert.deepEqual(homes.copies.map(({ home }) => home.name), ['c']);
  });

  it('exchanges states that take each other\'s values', async t => {
    if (!await engineOrSkip(t, 'native')) return;
    const program: Program = { feeds: [], run: ({ a, b }) => ({ fetches: { old: a! }, state: { a: b!, b: a! } }) };
    const session = await engines.native.open({ programs: { program }, state: { a: { shape: [2], data: Float32Array.of(1, 2) }, b: { shape: [2], data: Float32Array.of(3, 4) } }, constants: {}, threads: 1 });
    assert.deepEqual([...(await session.call('program', {}))['old']!.data], [1, 2]);
    assert.deepEqual(Object.values(await session.readState()).map(({ data }) => [...data]), [[3, 4], [1, 2]]);
    await session.dispose();
  });
});

describe('a session', () => {
  it('gives the same bits with any number of threads', async t => {
    const native = await engineOrSkip(t, 'native');
    if (!native) return;
    const gradients = async (threads: number) => {
      const session = await native.open({ programs: { gradients: tinyGradients() }, state: tinyWeights(), constants: {}, threads });
      return session.call('gradients', tinyFeeds());
    };
    const [one, three] = [await gradients(1), await gradients(3)];
    for (const name of Object.keys(one)) assert.deepEqual(one[name]!.data, three[name]!.data, name);
    assert.ok(worstError(one, await run(engines.cpu, tinyGradients(), { ...tinyFeeds() }).catch(() => one)) < 1e-5);
  });

  it('gives back the arrays of weights that it has laid out, where they are its own', async t => {
    const native = await engineOrSkip(t, 'native');
    if (!native) return;
    const program: Program = { feeds: [{ name: 'x', shape: [3, 4], dtype: 'float32' }], run: ({ x, w, b }) => ({ fetches: { y: tf.add(tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D), b!) }, state: {} }) };
    const feeds = { x: { shape: [3, 4], data: new Float32Array(12).fill(1) } };
    for (const ownsConstants of [true, false]) {
      const constants = { w: { shape: [4, 2], data: Float32Array.from([1, 2, 3, 4, 5, 6, 7, 8]) }, b: { shape: [2], data: Float32Array.of(1, 1) } };
      const session = await native.open({ programs: { program }, state: {}, constants, ownsConstants, threads: 1, weights: 'built-in' });
      assert.deepEqual([constants.w.data.length, constants.b.data.length], [ownsConstants ? 0 : 8, 2], 'the bias is read as it is');
      for (let i = 0; i < 2; i++) assert.deepEqual([...(await session.call('program', feeds))['y']!.data], [17, 21, 17, 21, 17, 21]);
      await session.dispose();
    }
  });

  it('lets values that are not finite through, so that they are noticed', async t => {
    const native = await engineOrSkip(t, 'native');
    if (!native) return;
    const program: Program = { feeds: [{ name: 'x', shape: [3, 4], dtype: 'float32' }], run: ({ x }) => ({ fetches: { y: tf.softmax(tf.matMul(x as tf.Tensor2D, tf.ones([4, 5]))) }, state: {} }) };
    const { y } = await run(native, program, { x: { shape: [3, 4], data: Float32Array.from({ length: 12 }, (_, i) => (i === 5 ? NaN : i)) } });
    assert.deepEqual([...y!.data].map(Number.isNaN), [...Array<boolean>(5).fill(false), ...Array<boolean>(5).fill(true), ...Array<boolean>(5).fill(false)]);
  });

  it('fails closed, naming the kernel that it lacks, and says so to who calls that program alone', async t => {
    const native = await engineOrSkip(t, 'native');
    if (!native) return;
    const programs: Record<string, Program> = {
      bad: { feeds: [], run: ({ x }) => ({ fetches: { y: tf.cumsum(x!) }, state: {} }) }, good: { feeds: [], run: ({ x }) => ({ fetches: { y: tf.neg(x!) }, state: {} }) },
    };
    const session = await native.open({ programs, state: { x: { shape: [1], data: Float32Array.of(3) } }, constants: {}, threads: 1 });
    await assert.rejects(session.call('bad', {}), { name: 'UserError', message: /no kernel 'Cumsum'/ });
    assert.deepEqual([...(await session.call('good', {}))['y']!.data], [-3]);
    await session.dispose();
  });
});
