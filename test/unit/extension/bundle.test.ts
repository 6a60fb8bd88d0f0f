/** What the extension loads into the editor's own process: little, quickly, and nothing native. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { build } from 'esbuild';

const forbidden = /node_modules\/(@tensorflow|onnxruntime|sharp|@img|@bufbuild|echarts)|src\/(engine|train|vit|peft|methods|data|worker|cli)\//;

describe('the extension bundle', () => {
  it('contains no tensors, no native packages and nothing of the worker', async () => {
    const { metafile } = await build({
      entryPoints: ['src/extension/extension.ts'], bundle: true, platform: 'node', format: 'cjs', external: ['vscode'],
      mainFields: ['module', 'main'], write: false, metafile: true, minify: true, outfile: 'extension.cjs', logLevel: 'error',
    });
    assert.deepEqual(Object.keys(metafile.inputs).filter(file => forbidden.test(file)), []);
    const [output] = Object.values(metafile.outputs);
    assert.ok(output!.bytes < 800_000, `${output!.bytes} bytes`);
    assert.deepEqual(output!.imports.filter(({ path: name }) => name !== 'vscode' && !isBuiltIn(name)), []);
  });

  it('activates in under 50 ms', () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-activation-'));
    try {
      const script = path.join(folder, 'activate.cjs');
      fs.writeFileSync(script, activation(path.resolve('dist/extension.cjs')));
      const times = Array.from({ length: 5 }, () => {
        const { stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
        assert.equal(stderr, '');
        return Number(stdout);
      });
      assert.ok(Math.min(...times) > 0 && Math.min(...times) < 50, `${times.join(', ')} ms`);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  });
});

function isBuiltIn(name: string): boolean {
  return name.startsWith('node:') || ['fs', 'path', 'os', 'crypto', 'child_process', 'url', 'util'].includes(name);
}

/** A script that loads and activates the bundle with an editor that answers every call with nothing, and prints the time. */
function activation(bundle: string): string {
  return `
    const Module = require('node:module');
    const nothing = () => new Proxy(function () {}, {
      get: (_, name) => name === 'then' ? undefined : name === Symbol.iterator ? [][Symbol.iterator] : name === Symbol.toPrimitive ? () => '' : nothing(),
      apply: () => nothing(), construct: () => nothing(), set: () => true,
    });
    const names = ['window', 'workspace', 'commands', 'languages', 'env', 'Uri', 'Range', 'EventEmitter', 'StatusBarAlignment', 'ProgressLocation', 'ViewColumn'];
    const vscode = Object.fromEntries(names.map(name => [name, nothing()]));
    const load = Module._load;
    Module._load = (name, ...rest) => name === 'vscode' ? vscode : load(name, ...rest);
    const started = performance.now();
    require(${JSON.stringify(bundle)}).activate({ subscriptions: [], workspaceState: { get: () => [] }, asAbsolutePath: p => p });
    process.stdout.write(String(performance.now() - started));
    process.exit(0);
  `;
}
