/** Which GPU engines start, and what they say where they do not; nothing here needs a GPU. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { engines } from '../../../src/engine/engines';
import { openOnProvider, type GpuProvider } from '../../../src/engine/graph-gpu';
import { openDevice } from '../../../src/engine/onnx/device';
import { encodeModel } from '../../../src/engine/onnx/model';
import { standardDialect } from '../../../src/engine/onnx/write';
import type { HostTensors, Program } from '../../../src/engine/program';
import { tf } from '../../../src/engine/tfjs';
import { softwareDriver } from '../../../src/engine/webgpu';
import { watchEngine } from '../../../src/worker/engine-failure';
import { engineOrSkip } from '../../fixtures/engines';
import { tinyFeeds, tinyGradients, tinyWeights, worstError } from '../../fixtures/gradient-case';

describe('a driver that computes on the processor', () => {
  const linux = (devices: string[], libraries: string[]) => softwareDriver({ platform: 'linux', devices, libraries });
  const windows = (libraries: string[]) => softwareDriver({ platform: 'win32', devices: [], libraries });
  const mesa = ['/usr/lib/libvulkan_lvp.so', '/usr/lib/libvulkan_radeon.so', '/usr/lib/libvulkan_intel.so'];

  it('is known on Linux by there being no device', () => {
    assert.equal(linux(['/dev/null'], mesa), 'llvmpipe (Mesa)');
    assert.equal(linux([], ['/opt/libvk_swiftshader.so']), 'SwiftShader');
    assert.equal(linux([], ['/usr/lib/libvulkan.so.1']), 'a driver without a device');
    for (const device of ['/dev/dri/renderD128', '/dev/nvidia0', '/dev/dxg', '/dev/mali0']) assert.equal(linux(['/dev/null', device], mesa), null);
  });

  it('is known on Windows by there being no other', () => {
    const warp = 'C:\\Windows\\SYSTEM32\\d3d10warp.dll';
    assert.match(windows([warp])!, /WARP/);
    for (const own of ['nvwgf2umx.dll', 'amdxc64.dll', 'igd12umd64.dll', 'qcdx12arm64um.dll']) {
      assert.equal(windows([warp, `C:\\Windows\\System32\\DriverStore\\${own}`]), null, own);
    }
  });

  it('does not exist on macOS', () => {
    assert.equal(softwareDriver({ platform: 'darwin', devices: [], libraries: ['/usr/lib/libMetal.dylib'] }), null);
  });
});

const x = { shape: [2], data: Float32Array.of(1, 2) };
const options = { programs: {}, state: { x }, constants: {}, threads: 1 };

describe('graph-cuda', () => {
  it('says how to install the provider', async t => {
    useDataFolder(t);
    await assert.rejects(engines['graph-cuda'].open(options), { name: 'UserError', message: /engine graph-cuda: .*not installed\n {2}Run `peft-lab runtime install cuda`/ });
  });

  it('says why an installed provider does not start', async t => {
    const module = path.join(useDataFolder(t), 'runtimes', `cuda-1.30.0-${process.platform}-${process.arch}-gpu`, 'node_modules/onnxruntime-node');
    fs.mkdirSync(module, { recursive: true });
    fs.writeFileSync(path.join(module, 'index.js'), 'throw new Error("libcudart.so.12: cannot open shared object file");');
    writeManifest(path.join(module, '../..'), { kind: 'cuda', version: '1.30.0', module: 'node_modules/onnxruntime-node' });
    await assert.rejects(engines['graph-cuda'].open(options), { name: 'UserError', message: /CUDA does not start: libcudart\.so\.12: cannot open[^]*nvidia-smi|there is no NVIDIA driver on this machine/ });
  });
});

describe('tensorflow', () => {
  it('has a device\'s memory and the bits of one where its runtime is for a GPU', t => {
    const folder = path.join(useDataFolder(t), 'runtimes/tensorflow-gpu');
    fs.mkdirSync(folder, { recursive: true });
    writeManifest(folder, { kind: 'tensorflow', version: '99.0.0', module: 'lib/tfjs_binding.node' });
    for (const engine of [engines.tensorflow, watchEngine(engines.tensorflow)]) assert.deepEqual([engine.ownMemory, engine.deterministic], [true, false]);
  });
});

const providers = {
  'a provider driven by the package, whose outputs come to the host': async (): Promise<GpuProvider> => ({ ...onProcessor, ort: await import('onnxruntime-node'), stateLocation: 'cpu' }),
  'a provider driven by the addon, where they stay': async (): Promise<GpuProvider> => ({ ...onProcessor, ort: openDevice({ folder: onnxRuntime, cuda: null }), stateLocation: 'gpu-buffer' }),
};
const onProcessor = { id: 'graph-cuda', provider: 'cpu', dialect: standardDialect } as const;
const onnxRuntime = path.resolve('node_modules/onnxruntime-node');

for (const [name, gpu] of Object.entries(providers)) describe(name, () => {
  const skips = async (t: TestContext) => name.includes('addon') && !await engineOrSkip(t, 'native');

  for (const [precision, bound] of [['f32', 1e-5], ['f16', 0.01]] as const) {
    it(`computes the reference's gradients in ${precision} (on the processor's provider, for want of a GPU)`, async t => {
      if (await skips(t)) return;
      const weights = tinyWeights(), program = tinyGradients();
      const [state, constants] = [true, false].map(isState => Object.fromEntries(Object.entries(weights).filter(([name]) => name.startsWith('blocks.0') === isState))) as [HostTensors, HostTensors];
      const settings = { programs: { program }, state, constants, threads: 1 };
      const session = await openOnProvider(await gpu(), { ...settings, precision });
      const reference = await engines.cpu.open(settings);
      const error = worstError(await session.call('program', tinyFeeds()), await reference.call('program', tinyFeeds()));
      assert.ok(error < bound, `worst tensor is off by ${error}`);
      await session.dispose();
      await reference.dispose();
    });
  }

  it('feeds each step the state that the one before it made', async t => {
    if (await skips(t)) return;
    const double: Program = { feeds: [], run: ({ y, rate }) => ({ fetches: { old: tf.add(y!, 0) }, state: { y: tf.mul(y!, rate!) } }) };
    const session = await openOnProvider(await gpu(), { programs: { double }, state: { y: x }, constants: { rate: { shape: [], data: Float32Array.of(2) } }, threads: 1 });
    for (let i = 0; i < 3; i++) await session.call('double', {});
    assert.deepEqual([...(await session.readState())['y']!.data], [8, 16]);
    await session.writeState({ y: { shape: [2], data: Float32Array.of(5, 6) } });
    assert.deepEqual([...(await session.call('double', {}))['old']!.data], [5, 6]);
    await session.dispose();
    assert.deepEqual([...x.data], [1, 2], 'the initial state was written over');
  });
});

describe('the addon\'s sessions of ONNX Runtime', () => {
  const open = (cuda: Record<string, string> | null = null) => openDevice({ folder: onnxRuntime, cuda });
  const size = 2 ** 20;
  const increment: Program = { feeds: [], run: ({ y }) => ({ fetches: {}, state: { y: tf.add(y!, 1) } }) };

  it('give back what a step replaces: 500 of them hold no more than the first', async t => {
    if (!await engineOrSkip(t, 'native')) return;
    const gpu: GpuProvider = { ...onProcessor, ort: open(), stateLocation: 'gpu-buffer' };
    const session = await openOnProvider(gpu, { programs: { increment }, state: { y: { shape: [size], data: new Float32Array(size) } }, constants: {}, threads: 1 });
    for (let i = 0; i < 20; i++) await session.call('increment', {});
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 500; i++) await session.call('increment', {});
    const grown = (process.memoryUsage().rss - before) / 2 ** 20;
    assert.ok(grown < 40, `${grown.toFixed(0)} MiB more; each step makes 4`);
    const { y } = await session.readState();
    assert.deepEqual([y!.data[0], y!.data[size - 1]], [520, 520]);
    await session.dispose();
  });

  it('say what is wrong, and go on', async t => {
    if (!await engineOrSkip(t, 'native')) return;
    const { InferenceSession, Tensor } = open();
    const value = (name: string, shape: number[]) => ({ name, shape, type: 'float32' as const });
    const model = encodeModel({ nodes: [{ operator: 'MatMul', inputs: ['a', 'b'], outputs: ['c'] }], initializers: [], inputs: [value('a', [2, 2]), value('b', [2, 2])], outputs: [value('c', [2, 2])] });
    await assert.rejects(InferenceSession.create(model.subarray(0, 20), {}), /protobuf|parsing/i);
    await assert.rejects(open({ device_id: '0' }).InferenceSession.create(model, {}), /libonnxruntime_providers_shared|CUDA/);
    const session = await InferenceSession.create(model, { preferredOutputLocation: { c: 'cpu' } });
    const tensor = (...shape: number[]) => new Tensor('float32' as never, new Float32Array(shape.reduce((a, b) => a * b)).fill(1) as never, shape);
    await assert.rejects(session.run({ a: tensor(2, 2), b: tensor(3, 2) }), /b.*Got: 3 Expected: 2|dimensions/s);
    await assert.rejects(session.run({ a: tensor(2, 2) }), /no tensor of this runtime is fed as 'b'/);
    const { c } = await session.run({ a: tensor(2, 2), b: tensor(2, 2) });
    assert.deepEqual([[...c!.data as Float32Array], c!.dims], [[2, 2, 2, 2], [2, 2]]);
    const released = tensor(2, 2);
    released.dispose();
    await assert.rejects(session.run({ a: tensor(2, 2), b: released }), /was released/);
    await session.release();
    await assert.rejects(session.run({ a: tensor(2, 2), b: tensor(2, 2) }), /was released/);
    assert.throws(() => openDevice({ folder: '/nowhere', cuda: null }), /nowhere/);
  });
});

/** Of a runtime for a GPU. */
function writeManifest(folder: string, own: { kind: string; version: string; module: string }): void {
  fs.writeFileSync(path.join(folder, 'runtime.json'), JSON.stringify({
    format: 1, platform: process.platform, arch: process.arch, gpu: true, installed: new Date(0).toISOString(), bytes: 1,
    libraries: [], cudaData: null, packages: [], check: null, ...own,
  }));
}

function useDataFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-data-'));
  const before = process.env['PEFT_LAB_DATA'];
  process.env['PEFT_LAB_DATA'] = folder;
  t.after(() => {
    if (before === undefined) delete process.env['PEFT_LAB_DATA'];
    else process.env['PEFT_LAB_DATA'] = before;
    fs.rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}
