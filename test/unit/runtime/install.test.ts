import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { findRuntime, installedRuntimes, readRuntime } from '../../../src/common/runtimes';
import { installRuntime, recheck, removeRuntimes, unfinishedRuntimes, type InstallProgress } from '../../../src/runtime/install';
import { describePlan, planRuntime, type RuntimePlan } from '../../../src/runtime/plan';
import { thisPlatform, type Platform } from '../../../src/runtime/platform';
import { openPythonIndex } from '../../../src/runtime/python-index';
import type { Recipe } from '../../../src/runtime/recipes';
import { resolveWheels } from '../../../src/runtime/resolve';
import { makeZip, startIndex, type FakeIndex, type FakeWheel } from '../../fixtures/wheels';

const linux: Platform = { platform: 'linux', arch: 'x64', glibc: '2.36', macos: null };
const metadata = (...requires: string[]) => ({ name: 'a-1.dist-info/METADATA', data: `Name: a\n${requires.map(line => `Requires-Dist: ${line}\n`).join('')}\nText\nRequires-Dist: no` });

/** The package "lib" with the extra "gpu", as TensorFlow and NVIDIA lay theirs out. */
function packages(): FakeWheel[] {
  const wheel = (name: string, version: string, more: Partial<FakeWheel> = {}): FakeWheel => ({
    name, version, content: makeZip([{ name: `${name}/libx.so`, data: `${name} ${version} `.repeat(5000) }, { name: `${name}/x.py`, data: 'no' }, metadata(...more.requires ?? [])]), ...more,
  });
  return [
    wheel('lib', '1.0', { requires: ['numpy', 'part-a<3,>=2; extra == "gpu"', 'part-b; extra == "gpu"'] }), wheel('lib', '1.1'),
    wheel('part-a', '1.9'), wheel('part-a', '2.0', { requires: ['part-b<5'] }), wheel('part-a', '2.5', { yanked: true }), wheel('part-a', '3.0'),
    wheel('part-b', '4.0'), wheel('part-b', '4.1rc1'), wheel('part-b', '5.0'),
  ];
}

/** What TensorFlow's binding does, as far as a runtime's check asks: it multiplies. */
const fakeModule = `module.exports = {
  TF_Version: '1.0', TF_FLOAT: 1, TF_ATTR_BOOL: 2, TF_ATTR_TYPE: 3, isUsingGpuDevice: () => false,
  createTensor: () => 0, executeOp: () => [{ id: 1 }], tensorDataSync: () => WORKS ? [19, 22, 43, 50] : [1, 2, 3, 4],
};`;

function recipe({ works = true, gpu = true }: { works?: boolean; gpu?: boolean } = {}): Recipe {
  return {
    kind: 'tensorflow', version: '1.0', gpu, wheels: { name: 'lib', version: '1.0', extras: ['gpu'] }, keepsWheels: true, module: 'module.js', keep: name => name.endsWith('.so'), require: () => Promise.resolve(), remarks: () => Promise.resolve([]),
    finish: ({ folder }) => fs.promises.writeFile(path.join(folder, 'module.js'), fakeModule.replace('WORKS', String(works))),
  };
}

interface Setting { index: FakeIndex; data: string; plan(given?: Partial<Recipe>): Promise<RuntimePlan> }

async function setUp(t: TestContext): Promise<Setting> {
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-install-'));
  const before = { PEFT_LAB_DATA: process.env['PEFT_LAB_DATA'], XDG_DATA_HOME: process.env['XDG_DATA_HOME'], PEFT_LAB_CACHE: process.env['PEFT_LAB_CACHE'] };
  for (const name of Object.keys(before)) process.env[name] = data;
  t.after(() => {
    for (const [name, value] of Object.entries(before)) { if (value === undefined) delete process.env[name]; else process.env[name] = value; }
    fs.rmSync(data, { recursive: true, force: true });
  });
  const index = await startIndex(t, packages());
  const plan = async (given: Partial<Recipe> = {}): Promise<RuntimePlan> => {
    const own = { ...recipe(), ...given };
    const wheels = own.wheels ? await resolveWheels({ index: openPythonIndex({ PEFT_LAB_PYPI: index.url }), machine: linux, ...own.wheels }) : [];
    const name = `tensorflow-1.0-${process.platform}-${process.arch}-gpu`;
    return {
      recipe: own, machine: thisPlatform(), wheels, downloadBytes: 1, unpackedBytes: 1, remarks: [], problems: [], installed: findRuntime('tensorflow'),
      folder: path.join(data, 'runtimes', name), staging: path.join(data, 'runtimes', `.install-${name}`),
    };
  };
  return { index, data, plan };
}

describe('resolveWheels', () => {
  it('takes what extras ask for, the newest that satisfies everybody, out of a wheel where the index does not say', async t => {
    const { plan, index } = await setUp(t);
    const { wheels } = await plan();
    assert.deepEqual(wheels.map(({ name, version }) => `${name} ${version}`), ['lib 1.0', 'part-a 2.0', 'part-b 4.0']);
    assert.ok(index.requests.some(({ path: asked, range }) => asked.includes('lib-1.0') && range));
  });

  it('names the versions that there are, and says why none fits', async t => {
    const wheel = { name: 'lib', version: '2.0', tags: 'cp312-cp312-manylinux_2_35_x86_64', content: makeZip([metadata()]) };
    const fake = await startIndex(t, [wheel, { ...wheel, version: '1.9', tags: 'cp312-cp312-manylinux_2_17_x86_64' }]);
    const index = openPythonIndex({ PEFT_LAB_PYPI: fake.url });
    const resolve = (machine: Partial<Platform>, version = '2.0', name = 'lib') => resolveWheels({ index, machine: { ...linux, ...machine }, name, version, extras: [] });
    assert.equal((await resolve({})).length, 1);
    await assert.rejects(resolve({}, '3.0'), /no wheels of lib 3\.0\n {2}Versions for this machine: 1\.9, 2\.0/);
    await assert.rejects(resolve({ glibc: '2.31' }), /lib 2\.0 needs glibc 2\.35 or newer, and this is Linux x64 with glibc 2\.31/);
    await assert.rejects(resolve({ glibc: null }), /GNU C library, not musl/);
    await assert.rejects(resolve({ platform: 'win32', glibc: null }), /there is no lib 2\.0 for Windows x64/);
    await assert.rejects(resolve({}, '1.0', 'none'), /has no package "none"/);
    assert.throws(() => openPythonIndex({ PEFT_LAB_PYPI: 'nonsense' }), /PEFT_LAB_PYPI: "nonsense" is no address/);
  });

  it('asks the index of pip first, and the public one where it does not answer with JSON', () => {
    assert.throws(() => openPythonIndex({ PIP_INDEX_URL: 'file:///simple' }), /PIP_INDEX_URL/);
    assert.doesNotThrow(() => openPythonIndex({ PIP_INDEX_URL: 'https://name:password@example.org/simple/' }));
  });
});

describe('installRuntime', () => {
  it('installs, shows how far it is, checks, and leaves nothing else', async t => {
    const { plan, data } = await setUp(t);
    const seen: InstallProgress[] = [];
    const runtime = await installRuntime(await plan(), { onProgress: progress => seen.push(progress) });
    assert.equal(runtime.check?.works, true, runtime.check?.says);
    assert.deepEqual(runtime.libraries, ['site/lib', 'site/part-a', 'site/part-b']);
    assert.deepEqual(runtime.packages.map(one => one.name), ['lib', 'part-a', 'part-b']);
    assert.deepEqual(fs.readdirSync(path.join(data, 'runtimes')), [path.basename(runtime.folder)]);
    assert.deepEqual(fs.readdirSync(path.join(runtime.folder, 'site/lib')), ['libx.so']);
    assert.equal(findRuntime('tensorflow')!.folder, runtime.folder);
    assert.deepEqual([...new Set(seen.map(({ phase }) => phase))], ['downloading', 'unpacking', 'building', 'checking']);
    const unpacking = seen.filter(({ phase, detail }) => phase === 'unpacking' && detail === 'lib').map(({ fraction }) => fraction);
    assert.ok(unpacking.length > 1 && unpacking[0]! < unpacking.at(-1)!, `it moves while a wheel is unpacked: ${unpacking.join(', ')}`);
    const fractions = seen.map(({ fraction }) => fraction);
    assert.deepEqual(fractions, [...fractions].sort((a, b) => a - b));
    assert.ok(fractions.at(-1)! < 1 && seen.every(({ done, total }) => done <= total));

    const again = await installRuntime(await plan({ finish: () => assert.fail('nothing is to do') }));
    assert.equal(again.folder, runtime.folder);
  });

  it('goes on where it was interrupted, and fetches nothing twice', async t => {
    const { plan, index } = await setUp(t);
    index.behaviours.push('well', 'stall');
    const stop = new AbortController();
    const asked = await plan();
    const why = new Error('asked');
    await assert.rejects(installRuntime(asked, { signal: stop.signal, onProgress: ({ detail }) => { if (detail === 'part-a') setTimeout(() => stop.abort(why), 50); } }), error => error === why);
    assert.deepEqual(installedRuntimes(), []);
    assert.deepEqual(unfinishedRuntimes().map(({ bytes }) => bytes > 1000), [true]);
    index.requests.length = 0;
    await installRuntime(await plan());
    const files = index.requests.filter(({ path: file, range }) => file.endsWith('.whl') && !/-\d+$/.test(range ?? ''));
    assert.deepEqual(files.map(({ path: file, range }) => [file.slice(7, 13), range !== undefined]), [['part_a', true], ['part_b', false]]);
    assert.deepEqual(unfinishedRuntimes(), []);
  });

  it('leaves no runtime after a wrong file, a missing one and a build that fails', async t => {
    const { plan, index } = await setUp(t);
    index.behaviours.push('other');
    await assert.rejects(installRuntime(await plan()), /SHA-256/);
    index.behaviours.push('missing');
    await assert.rejects(installRuntime(await plan()), /no such file/);
    const failing = new UserError({ what: 'no compiler' });
    await assert.rejects(installRuntime(await plan({ finish: () => Promise.reject(failing) })), error => error === failing);
    assert.deepEqual(installedRuntimes(), []);
  });

  it('keeps a GPU\'s runtime that finds no GPU here, with the reason, and refuses another one that does not work', async t => {
    const { plan } = await setUp(t);
    await assert.rejects(installRuntime(await plan(recipe({ works: false, gpu: false }))), /does not work here: it computes wrongly/);
    const kept = await installRuntime(await plan({ finish: ({ folder }) => fs.promises.writeFile(path.join(folder, 'module.js'), 'process.abort()') }));
    assert.deepEqual([kept.check!.works, /its check ended with (SIGABRT|code \d+)/.test(kept.check!.says)], [false, true]);
    fs.writeFileSync(path.join(kept.folder, 'module.js'), fakeModule.replace('WORKS', 'true'));
    assert.equal((await recheck(kept)).check!.works, true);
    assert.equal(readRuntime(kept.folder)!.check!.works, true);
  });

  it('says what is missing before it fetches anything', async t => {
    const { plan, index } = await setUp(t);
    const before = index.requests.length;
    const asked = { ...await plan(), problems: ['no compiler\n  Install one.'] };
    const fetched = index.requests.length;
    await assert.rejects(installRuntime(asked), /no compiler/);
    assert.deepEqual([before, index.requests.length], [0, fetched]);
    assert.match(describePlan(asked), /TensorFlow 1\.0 with CUDA[^]*part-a 2\.0 [^]*Missing: no compiler/);
  });

  it('is done by one process at a time; a dead one\'s lock does not count', async t => {
    const { plan } = await setUp(t);
    const asked = await plan();
    const lock = path.join(asked.staging, 'lock');
    fs.mkdirSync(asked.staging, { recursive: true });
    fs.writeFileSync(lock, JSON.stringify({ pid: process.ppid, host: os.hostname() }));
    await assert.rejects(installRuntime(asked), new RegExp(`is being installed already \\(process ${process.ppid} on `));
    await assert.rejects(removeRuntimes('tensorflow'), /is being installed already/);
    fs.writeFileSync(lock, '');
    await assert.rejects(installRuntime(asked), /is being installed already/, 'created, and not written yet');
    const longAgo = new Date(Date.now() - 3_600_000);
    fs.utimesSync(lock, longAgo, longAgo);
    await installRuntime(asked);
  });
});

describe('removeRuntimes', () => {
  it('goes past the lock of a process whose number another program has by now', async t => {
    const { plan } = await setUp(t);
    const { staging } = await plan();
    const lock = path.join(staging, 'lock');
    fs.mkdirSync(staging, { recursive: true });
    fs.writeFileSync(lock, JSON.stringify({ pid: process.ppid, host: os.hostname() }));
    const longAgo = new Date(Date.now() - 3_600_000);
    fs.utimesSync(lock, longAgo, longAgo);
    assert.equal((await removeRuntimes('tensorflow')).length, 1);
  });

  it('removes what is finished and what is not, and nothing else', async t => {
    const { plan, index, data } = await setUp(t);
    const { folder } = await installRuntime(await plan());
    index.behaviours.push('missing');
    await assert.rejects(installRuntime({ ...await plan(), installed: null }));
    fs.mkdirSync(path.join(data, 'runtimes/cuda-x'), { recursive: true });
    const removed = await removeRuntimes('tensorflow');
    assert.deepEqual(removed.map(one => path.basename(one.folder)), [`.install-${path.basename(folder)}`, path.basename(folder)]);
    assert.deepEqual(fs.readdirSync(path.join(data, 'runtimes')), ['cuda-x']);
    await removeRuntimes('cuda');
    assert.equal(fs.existsSync(path.join(data, 'runtimes')), false);
    assert.deepEqual(await removeRuntimes('tensorflow'), []);
  });
});

describe('planRuntime', () => {
  it('says what it would fetch for TensorFlow, from the wheel\'s own directory', async t => {
    await setUp(t);
    const content = makeZip([{ name: 'tensorflow/libtensorflow_cc.so.2', data: 'x'.repeat(5000) }, { name: 'tensorflow/python/y.so', data: 'y'.repeat(9000) }, metadata()]);
    const fake = await startIndex(t, [{ name: 'tensorflow-cpu', version: '2.21.0', tags: 'cp312-cp312-manylinux_2_27_x86_64', content }]);
    const plan = await planRuntime({ kind: 'tensorflow', gpu: false, machine: linux, index: openPythonIndex({ PEFT_LAB_PYPI: fake.url }) });
    assert.deepEqual([plan.downloadBytes, plan.unpackedBytes, plan.installed], [content.length, 5000, null]);
    assert.equal(path.basename(plan.folder), 'tensorflow-2.21.0-linux-x64');
    assert.equal(fs.existsSync(path.dirname(plan.folder)), false);
  });

  const refused: [options: { kind: 'tensorflow' | 'cuda'; gpu: boolean; version?: string }, machine: Partial<Platform>, message: RegExp][] = [
    [{ kind: 'tensorflow', gpu: false }, { platform: 'win32' }, /not in its wheels for Windows x64\n {2}Use WSL 2/],
    [{ kind: 'tensorflow', gpu: true }, { platform: 'darwin', arch: 'arm64', macos: 15 }, /no TensorFlow with CUDA for macOS 15 arm64/],
    [{ kind: 'cuda', gpu: true }, { arch: 'arm64' }, /knows no CUDA on Linux arm64/],
    [{ kind: 'cuda', gpu: true, version: '1.2.3' }, {}, /must have the version of the bundled ONNX Runtime/],
  ];
  for (const [options, machine, message] of refused) {
    it(`refuses ${options.kind}${options.gpu ? ' with CUDA' : ''} ${options.version ?? ''} on ${JSON.stringify(machine)}`, () => assert.rejects(planRuntime({ ...options, machine: { ...linux, ...machine } }), message));
  }
});
