/** The binding to TensorFlow: where it comes from, and the words when it cannot be had. Building it for real is done by the installation in CI. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { findRuntime } from '../../../src/common/runtimes';
import { bindingPath, forgetBindings, keptPath, makeBinding, requireCompiler } from '../../../src/runtime/binding';
import { recheck } from '../../../src/runtime/install';

function setUp(t: TestContext, environment: Record<string, string>): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-binding-'));
  const all: Record<string, string> = { PEFT_LAB_CACHE: path.join(folder, 'cache'), ...environment };
  const before = Object.keys(all).map(name => [name, process.env[name]] as const);
  Object.assign(process.env, all);
  t.after(() => {
    for (const [name, value] of before) { if (value === undefined) delete process.env[name]; else process.env[name] = value; }
    fs.rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

describe('the binding', { skip: process.platform === 'win32' ? 'there is none for Windows' : false }, () => {
  it('needs a compiler, unless it was built before', async t => {
    const folder = setUp(t, { PATH: '/nonexistent', CXX: '' });
    await assert.rejects(requireCompiler('2.21.0'), /there is no C\+\+ compiler[^]*\n {2}Install/);
    await assert.rejects(makeBinding({ folder, version: '2.21.0' }), /no C\+\+ compiler/);
    const kept = keptPath('2.21.0');
    fs.mkdirSync(path.dirname(kept), { recursive: true });
    fs.writeFileSync(kept, 'built');
    await requireCompiler('2.21.0');
    await makeBinding({ folder, version: '2.21.0' });
    assert.equal(fs.readFileSync(path.join(folder, bindingPath), 'utf8'), 'built');
    await assert.rejects(makeBinding({ folder, version: '2.21.0', fresh: true }), /no C\+\+ compiler/);
    await assert.rejects(requireCompiler('2.20.0'), /no C\+\+ compiler/);
    await forgetBindings();
    assert.equal(fs.existsSync(kept), false);
  });

  it('says what the compiler says', async t => {
    const folder = setUp(t, {});
    const script = path.join(folder, 'c++');
    fs.writeFileSync(script, '#!/bin/sh\n[ "$1" = --version ] && echo 1 && exit 0\necho "tfjs_backend.cc:1: error: no such header" >&2\nexit 3\n', { mode: 0o755 });
    process.env['CXX'] = script;
    t.after(() => { delete process.env['CXX']; });
    await assert.rejects(makeBinding({ folder, version: '2.21.0' }), /does not compile \(.*c\+\+ ended with 3\):\ntfjs_backend\.cc:1: error: no such header\n {2}A compiler with C\+\+17/);
    assert.equal(fs.existsSync(keptPath('2.21.0')), false);
  });

  it('loads and computes, where TensorFlow is installed', async t => {
    const runtime = findRuntime('tensorflow');
    if (!runtime) return t.skip('no TensorFlow is installed (node tools/tensorflow-runtime.mjs)');
    const { check } = await recheck(runtime);
    assert.equal(check!.works, true, check!.says);
    assert.match(check!.says, new RegExp(`TensorFlow ${runtime.version.replaceAll('.', '\\.')}`));
  });
});
