/** The kernels' addon: compiled from stubs of its sources, and installed as a runtime from the real ones. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { findRuntime, installedRuntimes, readRuntime } from '../../../src/common/runtimes';
import { kernelsFile, kernelsVersion, kernelVariants } from '../../../src/engine/native/sources';
import { compileKernels, type CompileKernelsOptions } from '../../../src/runtime/compile-kernels';
import { installRuntime, recheck, removeRuntimes, type InstallProgress } from '../../../src/runtime/install';
import { describePlan, planRuntime } from '../../../src/runtime/plan';
import { findCCompiler, thisPlatform, type Platform } from '../../../src/runtime/platform';
import { openPythonIndex } from '../../../src/runtime/python-index';
import { verifiedZig } from '../../../src/runtime/recipes';
import { buildKernels } from '../../../tools/build-kernels';
import { makeZip, startIndex } from '../../fixtures/wheels';

const compiler = compilerHere();
const skip = !compiler ? 'there is no C compiler' : kernelVariants().length === 0 ? 'there are no kernels for this processor' : false;
const headers = path.resolve('node_modules/node-api-headers/include');

const kernelsSource = '#define NAME2(v) v##_answer\n#define NAME(v) NAME2(v)\nint NAME(VARIANT)(void) { return 42; }\n';
const [first] = kernelVariants();
const addonSource = `
#include <node_api.h>
#ifndef HAS_${first?.name.toUpperCase()}
#error it was not told what there is
#endif
int ${first?.name}_answer(void);
NAPI_MODULE_INIT() {
  napi_value answer;
  napi_create_int32(env, ${first?.name}_answer(), &answer);
  napi_set_named_property(env, exports, "answer", answer);
#ifdef HAS_AVX512
  napi_set_named_property(env, exports, "avx512", answer);
#endif
  return exports;
}`;

function compilerHere(): string | null {
  try {
    return process.platform === 'win32' ? null : execFileSync('sh', ['-c', 'command -v cc || command -v gcc || command -v clang'], { encoding: 'utf8' }).trim();
  } catch {
    return null;
  }
}

function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-kernels-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

function setEnvironment(t: TestContext, environment: Record<string, string>): void {
  const before = Object.keys(environment).map(name => [name, process.env[name]] as const);
  Object.assign(process.env, environment);
  t.after(() => { for (const [name, value] of before) { if (value === undefined) delete process.env[name]; else process.env[name] = value; } });
}

function script(folder: string, text: string): string {
  const file = path.join(folder, 'compiler.sh');
  fs.writeFileSync(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return file;
}

/** Stubs of the sources, and options that compile them. */
function stubs(t: TestContext, files: Record<string, string> = {}): CompileKernelsOptions & { folder: string } {
  const folder = temporaryFolder(t), sources = path.join(folder, 'kernels');
  fs.mkdirSync(sources);
  for (const [name, text] of Object.entries({ 'kernels.c': kernelsSource, 'addon.c': addonSource, ...files })) fs.writeFileSync(path.join(sources, name), text);
  return { folder, sources, headers, target: path.join(folder, 'out', kernelsFile), compiler: { command: compiler! } };
}

function load(file: string): Record<string, number> {
  return createRequire(file)(file) as Record<string, number>;
}

describe('compiling the kernels', { skip }, () => {
  it('makes one addon of all sources, with every instruction set, and leaves nothing else', async t => {
    const options = stubs(t, { 'more.c': 'int more(void) { return 1; }\n', 'more.h': 'int more(void);\n' });
    assert.deepEqual((await compileKernels(options)).without, []);
    assert.deepEqual(fs.readdirSync(path.dirname(options.target)), [kernelsFile]);
    assert.deepEqual(load(options.target), { answer: 42, ...process.arch === 'x64' && { avx512: 42 } });
  });

  it('goes on without an instruction set that the compiler does not know, where another will do', async t => {
    if (!kernelVariants().some(({ optional }) => optional)) return t.skip('every instruction set is needed here');
    const options = stubs(t, { 'kernels.c': `#ifdef __AVX512F__\n#error unknown\n#endif\n${kernelsSource}` });
    const { without } = await compileKernels(options);
    assert.deepEqual([without.length, without[0]!.name, /kernels\.c:2:.*unknown/.test(without[0]!.words)], [1, 'avx512', true]);
    assert.deepEqual(load(options.target), { answer: 42 });
  });

  it('fails with the compiler\'s words, and leaves what was there before', async t => {
    const options = stubs(t, { 'addon.c': 'nonsense' });
    fs.mkdirSync(path.dirname(options.target));
    fs.writeFileSync(options.target, 'before');
    const remedy = /do not compile \(.*ended with [^]*addon\.c:1:[^]*\n {2}A C compiler .* in the variable CC/;
    await assert.rejects(compileKernels(options), { name: 'UserError', message: remedy });
    await assert.rejects(compileKernels({ ...options, compiler: { command: '/nonexistent/cc' } }), { name: 'UserError', message: /\/nonexistent\/cc ended with .*ENOENT/ });
    assert.deepEqual([fs.readdirSync(path.dirname(options.target)), fs.readFileSync(options.target, 'utf8')], [[kernelsFile], 'before']);
  });

  it('ends when it is cancelled, and ends the compilers', async t => {
    const options = stubs(t);
    const ids = path.join(options.folder, 'ids');
    const sleeper = script(options.folder, `echo $$ >> '${ids}'; exec sleep 600`);
    const stop = new AbortController(), why = new Error('asked');
    const done = compileKernels({ ...options, compiler: { command: sleeper }, signal: stop.signal });
    setTimeout(() => stop.abort(why), 500);
    await assert.rejects(done, error => error === why);
    assert.deepEqual(fs.readdirSync(path.dirname(options.target)), []);
    const alive = fs.readFileSync(ids, 'utf8').trim().split('\n').filter(id => isRunning(Number(id)));
    assert.deepEqual(alive, []);
  });

  it('is known by its sources and by how they are compiled', t => {
    const { sources } = stubs(t), before = kernelsVersion({ sources });
    assert.match(before, /^\d+\.\d+\.\d+-[0-9a-f]{12}$/);
    assert.notEqual(kernelsVersion({ sources }, process.arch === 'x64' ? 'arm64' : 'x64'), before);
    fs.appendFileSync(path.join(sources, 'kernels.c'), '\n');
    assert.notEqual(kernelsVersion({ sources }), before);
  });
});

function isRunning(id: number): boolean {
  try {
    process.kill(id, 0);
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${id}/status`, 'utf8'));
  } catch {
    return false;
  }
}

it('a C compiler is one that finds the headers of the C library', { skip: skip || process.platform === 'win32' }, async t => {
  const folder = temporaryFolder(t);
  const bare = script(folder, '[ "$1" = --version ] && exit 0\necho "fatal error: math.h: No such file" >&2\nexit 1');
  assert.equal(await findCCompiler({ CC: compiler! }), compiler);
  setEnvironment(t, { PATH: '/nonexistent' });
  assert.equal(await findCCompiler({ CC: bare }), null);
});

describe('building the kernels beside the bundles', { skip }, () => {
  it('compiles what is missing or of other sources, and nothing else; says what is missing', async t => {
    const { folder } = stubs(t), native = path.join(folder, 'native'), target = path.join(native, kernelsFile);
    fs.cpSync(path.join(folder, 'kernels'), path.join(native, 'kernels'), { recursive: true });
    fs.cpSync(headers, path.join(native, 'node-api'), { recursive: true });
    assert.deepEqual(await buildKernels(native), []);
    const built = fs.statSync(target).mtimeMs;
    assert.deepEqual(await buildKernels(native), []);
    assert.equal(fs.statSync(target).mtimeMs, built);

    fs.writeFileSync(path.join(native, 'kernels/addon.c'), 'nonsense');
    assert.match((await buildKernels(native)).join('\n'), /^The engine native will be missing: the kernels do not compile/);
    assert.equal(fs.existsSync(target), false);
    setEnvironment(t, { PATH: '/nonexistent', CC: '' });
    const [line, ...more] = await buildKernels(native);
    assert.match(line!, /no C compiler: the engine native will be missing.*`peft-lab runtime install kernels`/);
    assert.deepEqual(more, []);
  });
});

const zigWheel = (files: Record<string, string>) => ({
  name: 'ziglang', version: verifiedZig, tags: 'py3-none-any',
  content: makeZip(Object.entries(files).map(([name, data]) => ({ name, data, mode: name.endsWith('/zig') ? 0o100755 : 0o100644 }))),
});

describe('peft-lab runtime install kernels', { skip }, () => {
  const machine: Platform = thisPlatform();

  function setUp(t: TestContext, environment: Record<string, string>): string {
    const data = temporaryFolder(t);
    setEnvironment(t, { PEFT_LAB_DATA: data, XDG_DATA_HOME: data, PEFT_LAB_CACHE: data, ...environment });
    return data;
  }

  it('fetches nothing where there is a compiler, and is not used for other sources than its own', async t => {
    const data = setUp(t, {});
    const plan = await planRuntime({ kind: 'kernels', gpu: false, index: openPythonIndex({ PEFT_LAB_PYPI: 'http://127.0.0.1:1' }) });
    assert.deepEqual([plan.wheels, plan.downloadBytes, plan.problems], [[], 0, []]);
    assert.match(describePlan(plan), /^Kernels [\d.]+-[0-9a-f]+: nothing to download, 1\.0 MB on disk[^]*\nCompiled on this machine with cc/);
    const seen: InstallProgress[] = [];
    const runtime = await installRuntime(plan, { onProgress: progress => seen.push(progress) });
    assert.equal(runtime.check?.works, true, runtime.check?.says);
    assert.deepEqual(seen.map(({ phase, fraction }) => [phase, fraction]), [['building', 0], ['checking', 0.98]]);
    assert.deepEqual(fs.readdirSync(runtime.folder).sort(), [kernelsFile, 'runtime.json'].sort());
    assert.equal(findRuntime('kernels', { version: kernelsVersion() })!.folder, runtime.folder);

    const manifest = path.join(runtime.folder, 'runtime.json');
    fs.writeFileSync(manifest, fs.readFileSync(manifest, 'utf8').replace(kernelsVersion(), '0.1.0-0'));
    assert.equal(findRuntime('kernels', { version: kernelsVersion() }), null);
    const { check } = await recheck(readRuntime(runtime.folder)!);
    assert.deepEqual([check!.works, /another version of PEFT Lab/.test(check!.says)], [false, true]);
    assert.equal((await removeRuntimes('kernels')).length, 1);
    assert.deepEqual(fs.readdirSync(data), []);
  });

  it('fetches a compiler where there is none, uses it, and removes it', async t => {
    const zig = `#!/bin/sh\n[ "$1 $2" = "cc -target" ] || exit 9\nshift 3\nPATH='${process.env['PATH']}' exec '${compiler}' "$@"\n`;
    const index = await startIndex(t, [zigWheel({ 'ziglang/zig': zig, 'ziglang/lib/std/std.zig': 'x'.repeat(5e5), 'ziglang/lib/libc.so.6': 'not to be loaded', 'ziglang/lib/libc/mingw/a.c': 'not wanted' })]);
    const data = setUp(t, { PATH: '/nonexistent', CC: '' });
    const open = () => planRuntime({ kind: 'kernels', gpu: false, index: openPythonIndex({ PEFT_LAB_PYPI: index.url }) });
    const plan = await open();
    assert.deepEqual([plan.wheels.map(({ name }) => name), plan.unpackedBytes], [['ziglang'], 1e6]);
    assert.match(describePlan(plan), /There is no C compiler on this machine\. The one in the package ziglang is fetched/);

    index.behaviours.push('cut', 'missing');
    await assert.rejects(installRuntime(plan, { retryMilliseconds: 1 }));
    assert.deepEqual(installedRuntimes(), []);
    const { folder, bytes, packages, libraries, check } = await installRuntime(await open());
    assert.equal(check?.works, true, check?.says);
    assert.deepEqual([fs.readdirSync(folder).sort(), packages.map(({ name }) => name), libraries, bytes < 5e5], [[kernelsFile, 'runtime.json'].sort(), ['ziglang'], [], true]);
    assert.deepEqual(fs.readdirSync(path.join(data, 'runtimes')), [path.basename(folder)]);
  });

  it('leaves no runtime when it is cancelled while it compiles, and goes on from there', async t => {
    const hangs = script(temporaryFolder(t), 'case "$*" in *-fsyntax-only*) exit 0;; esac\nexec sleep 600');
    setUp(t, { CC: hangs });
    const stop = new AbortController(), why = new Error('asked');
    const plan = await planRuntime({ kind: 'kernels', gpu: false });
    await assert.rejects(installRuntime(plan, { signal: stop.signal, onProgress: ({ phase }) => { if (phase === 'building') setTimeout(() => stop.abort(why), 300); } }), error => error === why);
    assert.deepEqual(installedRuntimes(), []);
    process.env['CC'] = compiler!;
    assert.equal((await installRuntime(await planRuntime({ kind: 'kernels', gpu: false }))).check?.works, true);
  });

  const refused: [options: { gpu: boolean; version?: string }, machine: Partial<Platform>, message: RegExp][] = [
    [{ gpu: false }, { platform: 'win32' }, /no kernels for Windows [^]*Use WSL 2/],
    [{ gpu: false }, { platform: 'linux', arch: 'ppc64' }, /no kernels for Linux ppc64/],
    [{ gpu: true }, {}, /--gpu: the kernels compute on the processor/],
    [{ gpu: false, version: '9.9' }, {}, /--version: the kernels have the version of PEFT Lab/],
  ];
  for (const [options, other, message] of refused) {
    it(`refuses ${JSON.stringify(options)} on ${JSON.stringify(other)}`, () => assert.rejects(planRuntime({ kind: 'kernels', ...options, machine: { ...machine, ...other } }), message));
  }
});
