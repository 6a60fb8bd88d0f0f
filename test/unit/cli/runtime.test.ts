import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { installReporter, progressLine } from '../../../src/cli/install-progress';
import { makeZip, startIndex } from '../../fixtures/wheels';

const supported = process.platform === 'linux' && process.arch === 'x64' && Boolean((process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }).header.glibcVersionRuntime);
const skip = supported ? false : 'CUDA is installed on Linux x64 only';

interface End { code: number | null; stdout: string; stderr: string }

function command(t: TestContext, index: string) {
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-runtime-'));
  t.after(() => fs.rmSync(data, { recursive: true, force: true, maxRetries: 10 }));
  const environment = { ...process.env, PEFT_LAB_DATA: data, XDG_DATA_HOME: data, PEFT_LAB_CACHE: data, PEFT_LAB_PYPI: index, NO_PROXY: '127.0.0.1' };
  const call = (args: readonly string[], onText?: (text: string, child: ChildProcess) => void, more: NodeJS.ProcessEnv = {}) => new Promise<End>((resolve, reject) => {
    const child = spawn(process.execPath, [path.resolve('bin/peft-lab.mjs'), 'runtime', ...args], { env: { ...environment, ...more }, stdio: ['ignore', 'pipe', 'pipe'] });
    const end = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => { end.stdout += text; });
    child.stderr.setEncoding('utf8').on('data', (text: string) => { end.stderr += text; onText?.(text, child); });
    child.once('error', reject);
    child.once('close', code => resolve({ ...end, code }));
  });
  return { data, call };
}

/** ONNX Runtime's wheel of the bundled version with nothing in its libraries, and one of NVIDIA's. */
function wheels() {
  const { version } = JSON.parse(fs.readFileSync('node_modules/onnxruntime-node/package.json', 'utf8')) as { version: string };
  const libraries = [`libonnxruntime.so.${version}`, 'libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so'];
  return [
    { name: 'onnxruntime-gpu', version, tags: 'cp312-cp312-manylinux_2_28_x86_64', requires: ['nvidia-fake~=13.0; extra == "cuda"'], content: makeZip(libraries.map(name => ({ name: `onnxruntime/capi/${name}`, data: name.repeat(2000) }))) },
    { name: 'nvidia-fake', version: '13.1', content: makeZip([{ name: 'nvidia/cu13/lib/libfake.so.13', data: 'x' }]) },
  ];
}

describe('peft-lab runtime', { skip }, () => {
  it('says what it would fetch, stops on Ctrl-C with 130, goes on, lists and removes', async t => {
    const index = await startIndex(t, wheels());
    const { data, call } = command(t, index.url);
    const dry = await call(['install', 'cuda', '--dry-run', '--json']);
    assert.equal(dry.code, 0, dry.stderr);
    const plan = JSON.parse(dry.stdout) as { downloadBytes: number; wheels: { bytes: number; host: string }[]; problems: string[] };
    assert.deepEqual([plan.wheels.length, plan.problems, plan.downloadBytes], [2, [], plan.wheels[0]!.bytes + plan.wheels[1]!.bytes]);
    assert.deepEqual(fs.readdirSync(data), []);

    index.behaviours.push('stall');
    const stopped = await call(['install', 'cuda', '--progress', '--json'], (text, child) => { if (text.includes('"downloading"')) setTimeout(() => child.kill('SIGINT'), 300); });
    assert.deepEqual([stopped.code, JSON.parse(stopped.stdout)], [130, { cancelled: true }], stopped.stderr);
    const unfinished = await call(['list', '--json']);
    assert.match((JSON.parse(unfinished.stdout) as { unfinished: { name: string }[] }).unfinished[0]!.name, /^cuda-.*-gpu$/);

    const installed = await call(['install', 'cuda']);
    assert.equal(installed.code, 0, installed.stderr);
    assert.match(installed.stdout, /^ONNX Runtime [\d.]+ with CUDA is installed \(\d+ s\): /);
    assert.ok(index.requests.some(({ range }) => /^bytes=[1-9]\d*-$/.test(range ?? '')), 'goes on where it was');
    const folder = installed.stdout.trim().split('\n').at(-1)!;
    assert.deepEqual(fs.readdirSync(path.join(folder, 'node_modules/onnxruntime-node/bin/napi-v6/linux/x64')).sort(), ['libonnxruntime.so.1', 'libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so', 'onnxruntime_binding.node']);

    const listed = JSON.parse((await call(['list', '--json'])).stdout) as { runtimes: { kind: string; check: { works: boolean } }[]; unfinished: unknown[] };
    assert.deepEqual([listed.runtimes.map(({ kind, check }) => [kind, check.works]), listed.unfinished], [[['cuda', false]], []]);
    const offline = command(t, 'http://127.0.0.1:1');
    assert.equal((await offline.call(['install', 'cuda'])).code, 2);
    assert.match((await call(['remove', 'cuda'])).stdout, /^Removed .*cuda-.* \(\d/);
    assert.deepEqual(fs.readdirSync(data), []);
  });

  it('compiles kernels without the index where there is a compiler, and stops on Ctrl-C', async t => {
    const { data, call } = command(t, 'http://127.0.0.1:1');
    const compiler = path.join(data, 'cc.sh');
    fs.writeFileSync(compiler, '#!/bin/sh\ncase "$*" in *-fsyntax-only*) exit 0;; esac\nexec sleep 600\n', { mode: 0o755 });
    const environment = { CC: compiler };
    const dry = await call(['install', 'kernels', '--dry-run', '--json'], undefined, environment);
    assert.equal(dry.code, 0, dry.stderr);
    const { wheels: fetched, problems, remarks } = JSON.parse(dry.stdout) as { wheels: unknown[]; problems: string[]; remarks: string[] };
    assert.deepEqual([fetched, problems, remarks[0]], [[], [], `Compiled on this machine with ${compiler}, in less than a minute.`]);
    const stopped = await call(['install', 'kernels', '--progress', '--json'], (text, child) => { if (text.includes('"building"')) setTimeout(() => child.kill('SIGINT'), 300); }, environment);
    assert.deepEqual([stopped.code, JSON.parse(stopped.stdout)], [130, { cancelled: true }], stopped.stderr);
    assert.match((await call(['remove', 'kernels'])).stdout, /^Removed .*\.install-kernels-/);
    assert.deepEqual(fs.readdirSync(data), ['cc.sh']);
  });

  it('refuses what it does not know, with 2 and in words', async t => {
    const { call } = command(t, 'http://127.0.0.1:1');
    const ends = await Promise.all([['instal', 'cuda'], ['install'], ['install', 'tensorflow-gpu'], ['install', 'cuda', '--version', '1.2']].map(args => call(args)));
    assert.deepEqual(ends.map(({ code }) => code), [2, 2, 2, 2]);
    for (const [i, words] of [/^peft-lab runtime: ACTION: .*did you mean "install"/, /which runtime to install: tensorflow or cuda or kernels\?/, /Allowed: tensorflow, cuda, kernels/, /version of the bundled ONNX Runtime/].entries()) assert.match(ends[i]!.stderr, words);
  });
});

describe('an installation\'s progress', () => {
  const progress = { phase: 'downloading' as const, detail: 'tensorflow', done: 115e6, total: 274e6, bytesPerSecond: 11.8e6, fraction: 0.42 };

  it('is a bar on a terminal, a line every tenth elsewhere, and JSON for programs', () => {
    assert.equal(progressLine(progress), ' 42 %  downloading tensorflow, 115 MB of 274 MB, 12 MB/s');
    const written = (options: { isTTY?: boolean; asLines?: boolean }) => {
      let text = '';
      const reporter = installReporter({ stream: { isTTY: options.isTTY ?? false, columns: 60, write: part => { text += part; } }, asLines: options.asLines ?? false });
      for (let percent = 0; percent <= 100; percent++) reporter.report({ ...progress, fraction: percent / 100 });
      reporter.end();
      return text;
    };
    assert.equal(written({}).split('\n').length - 1, 11);
    assert.match(written({ isTTY: true }), /^\r\u001b\[2K {2}0 % {2}downloading.*\r\u001b\[2K$/);
    assert.deepEqual(JSON.parse(written({ asLines: true }).split('\n')[0]!), { progress: { ...progress, fraction: 0 } });
  });
});
