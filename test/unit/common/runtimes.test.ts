import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { dataFolder } from '../../../src/common/paths';
import { compareVersions, engineEnvironment, findRuntime, installedRuntimes, runtimeEnvironment, runtimeModulePath, runtimeSchema, type RuntimeManifest } from '../../../src/common/runtimes';

const platform = 'linux', arch = 'x64';

function manifest(given: Partial<RuntimeManifest> = {}): RuntimeManifest {
  return {
    format: 1, kind: 'tensorflow', version: '2.21.0', platform, arch, gpu: false, installed: '2026-01-02T03:04:05.000Z', bytes: 1,
    module: 'lib/tfjs_binding.node', libraries: ['site/tensorflow'], cudaData: null, packages: [], check: null, ...given,
  };
}

function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-runtimes-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function put(data: string, name: string, content: unknown): string {
  const folder = path.join(data, 'runtimes', name);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'runtime.json'), typeof content === 'string' ? content : JSON.stringify(content));
  return folder;
}

describe('installed runtimes', () => {
  it('are found in the data folder and where a terminal installs them; a GPU\'s first, then the newest', t => {
    const home = temporaryFolder(t), own = path.join(home, 'own');
    const environment = { PEFT_LAB_DATA: own, XDG_DATA_HOME: path.join(home, 'xdg'), LOCALAPPDATA: path.join(home, 'xdg') };
    const shared = dataFolder({ environment: { ...environment, PEFT_LAB_DATA: undefined } });
    const search = { platform, arch, environment } as const;
    assert.equal(findRuntime('tensorflow', search), null);
    put(own, 'a', manifest({ version: '2.9.1' }));
    put(shared, 'b', manifest({ version: '2.21.0' }));
    put(own, '.c', manifest({ version: '2.99.0' })); // being installed
    put(own, 'd', '{ torn');
    put(own, 'e', { ...manifest(), format: 2 });
    put(own, 'f', manifest({ arch: 'arm64', version: '2.50.0' }));
    put(own, 'g', manifest({ kind: 'cuda', version: '1.30.0', module: 'node_modules/onnxruntime-node' }));
    assert.deepEqual(installedRuntimes(search).map(r => [r.kind, r.version]), [['tensorflow', '2.9.1'], ['cuda', '1.30.0'], ['tensorflow', '2.21.0']]);
    assert.equal(findRuntime('tensorflow', search)!.version, '2.21.0');
    assert.equal(findRuntime('tensorflow', { ...search, version: '2.9.1' })!.version, '2.9.1');
    assert.equal(findRuntime('tensorflow', { ...search, version: '2.10.0' }), null);
    const folder = put(own, 'h', manifest({ gpu: true, version: '2.20.0' }));
    const found = findRuntime('tensorflow', search)!;
    assert.equal(found.version, '2.20.0');
    assert.equal(runtimeModulePath(found), path.join(folder, 'lib/tfjs_binding.node'));
  });

  it('compare versions by their numbers', () => {
    assert.ok(compareVersions('2.9.1', '2.21.0') < 0);
    assert.ok(compareVersions('2.21', '2.21.0') === 0);
    assert.ok(compareVersions('12.4.5.8', '12.4.5.7') > 0);
  });
});

describe('a runtime\'s environment', () => {
  const runtime = { ...runtimeSchema.parse(manifest({ gpu: true, libraries: ['site/tensorflow', 'site/nvidia/cublas/lib'], cudaData: 'site/nvidia/cuda_nvcc' })), folder: '/r' };

  it('puts its libraries first and tells TensorFlow to share the GPU', () => {
    const environment = runtimeEnvironment(runtime, { environment: { LD_LIBRARY_PATH: '/usr/local/cuda/lib64:' }, platform });
    assert.deepEqual(environment, {
      LD_LIBRARY_PATH: '/r/site/tensorflow:/r/site/nvidia/cublas/lib:/usr/local/cuda/lib64',
      TF_FORCE_GPU_ALLOW_GROWTH: 'true', TF_GPU_ALLOCATOR: 'cuda_malloc_async', XLA_FLAGS: '--xla_gpu_cuda_data_dir=/r/site/nvidia/cuda_nvcc',
    });
  });

  it('keeps what the user has set', () => {
    const environment = runtimeEnvironment(runtime, { environment: { TF_GPU_ALLOCATOR: 'bfc', XLA_FLAGS: '--xla_dump_to=/d' }, platform });
    assert.equal('TF_GPU_ALLOCATOR' in environment, false);
    assert.equal(environment['XLA_FLAGS'], '--xla_dump_to=/d --xla_gpu_cuda_data_dir=/r/site/nvidia/cuda_nvcc');
    assert.equal('XLA_FLAGS' in runtimeEnvironment(runtime, { environment: { XLA_FLAGS: '--xla_gpu_cuda_data_dir=/c' }, platform }), false);
  });

  it('names the variable as the system does', () => {
    const added = runtimeEnvironment({ ...runtime, gpu: false, cudaData: null }, { environment: { PATH: 'C:\\a' }, platform: 'win32' });
    assert.match(added['PATH']!, /tensorflow;.*cublas.*;C:\\a$/);
    assert.ok('DYLD_LIBRARY_PATH' in runtimeEnvironment(runtime, { environment: {}, platform: 'darwin' }));
  });

  it('of all runtimes together is what a worker gets; applied twice it is the same', t => {
    const data = temporaryFolder(t);
    put(data, 'tf', manifest());
    put(data, 'cuda', manifest({ kind: 'cuda', version: '1.30.0', libraries: ['lib'], gpu: true }));
    const base = { PEFT_LAB_DATA: data, XDG_DATA_HOME: data, KEPT: '1' };
    const once = engineEnvironment({ platform, arch, environment: base });
    assert.equal(once['KEPT'], '1');
    assert.deepEqual(once['LD_LIBRARY_PATH']!.split(':').map(f => path.relative(data, f)), ['runtimes/tf/site/tensorflow', 'runtimes/cuda/lib']);
    assert.deepEqual(engineEnvironment({ platform, arch, environment: once }), once);
    put(data, 'tf-gpu', manifest({ gpu: true, cudaData: 'site/nvidia/cuda_nvcc' }));
    const both = engineEnvironment({ platform, arch, environment: base });
    assert.deepEqual(['LD_LIBRARY_PATH' in both, both['TF_FORCE_GPU_ALLOW_GROWTH'], /xla_gpu_cuda_data_dir/.test(both['XLA_FLAGS']!)], [false, 'true', true]);
    assert.equal('LD_LIBRARY_PATH' in engineEnvironment({ platform, arch, environment: { PEFT_LAB_DATA: path.join(data, 'none'), XDG_DATA_HOME: path.join(data, 'none') } }), false);
  });

  it('asks for large pages on Linux, beside what the user tunes, unless the user says otherwise', t => {
    const data = temporaryFolder(t);
    const tunables = (on: NodeJS.Platform, given?: string) =>
      engineEnvironment({ platform: on, arch, environment: { PEFT_LAB_DATA: data, XDG_DATA_HOME: data, ...given !== undefined && { GLIBC_TUNABLES: given } } })['GLIBC_TUNABLES'];
    assert.equal(tunables('linux'), 'glibc.malloc.hugetlb=1');
    assert.equal(tunables('linux', 'glibc.malloc.arena_max=1'), 'glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1');
    assert.equal(tunables('linux', 'glibc.malloc.hugetlb=0'), 'glibc.malloc.hugetlb=0');
    assert.equal(tunables('darwin'), undefined);
  });
});
