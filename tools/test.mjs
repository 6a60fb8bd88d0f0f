// `npm test [-- filter ...]`: type check, lint, then every test file below test/ whose path contains a filter.
// Test files are found by reading the directory, bundled as the product is, and run by node's own test runner.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { root, setUp } from './setup.mjs';
import { findSoftwareGpu } from './software-gpu.mjs';

const filters = process.argv.slice(2).filter(a => !a.startsWith('--'));
const testsOnly = filters.length > 0 || process.argv.includes('--tests-only');

// Runtimes that were installed for the tests (tools/tensorflow-runtime.mjs); those of the user are left alone.
process.env.PEFT_LAB_DATA ??= path.join(root, '.cache/data');
await setUp();
let passed = 0, failed = 0, skipped = 0;
const failures = [];
if (!testsOnly) {
  check('type check', ['node_modules/typescript/bin/tsc', '-p', '.']);
  check('lint', ['node_modules/eslint/bin/eslint.js', '.', '--max-warnings=0']);
}
const files = await bundleTests();
const two = Math.min(2, os.availableParallelism());
await runTests(files.filter(mayShareProcessor), { concurrency: two });
await runTests(files.filter(f => !mayShareProcessor(f) && !onGpu(f)));
await withSoftwareGpu(() => runTests(files.filter(onGpu), { concurrency: two }));
for (const text of failures) console.log(text);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed ? 1 : 0);

function check(name, args) {
  const started = Date.now();
  const done = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (done.status === 0) passed++;
  else {
    failed++;
    failures.push(`FAILED: ${name}`);
  }
  console.log(`${done.status === 0 ? 'ok' : 'FAILED'}: ${name} (${seconds} s)`);
}

/** Tests that only compute or train, for minutes: two run at a time. Others look at clocks, or drive windows. */
function mayShareProcessor(file) {
  return ['contract', 'parity', 'worker'].some(folder => file.startsWith(path.join(root, 'dist/test', folder)));
}

/** Tests of test/gpu run on a graphics driver that other tests must not meet: it takes TensorFlow's and Chromium's libraries. */
function onGpu(file) {
  return file.startsWith(path.join(root, 'dist/test/gpu/'));
}

/** The driver is found when a process starts, by its environment; without one the tests run on what the machine has, or are skipped. */
async function withSoftwareGpu(action) {
  const before = { ...process.env };
  Object.assign(process.env, findSoftwareGpu().environment);
  await action();
  for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
  Object.assign(process.env, before);
}

async function bundleTests() {
  const { build } = await import('esbuild');
  const { common, natives } = await import('../esbuild.mjs');
  const files = fs.readdirSync(path.join(root, 'test'), { recursive: true })
    .map(f => path.join('test', String(f)).replaceAll('\\', '/'))
    .filter(f => f.endsWith('.test.ts') && (!filters.length || filters.some(x => f.includes(x)))).sort();
  const outdir = path.join(root, 'dist/test');
  if (!filters.length) fs.rmSync(outdir, { recursive: true, force: true });
  await build({
    ...common(), entryPoints: files, outdir, outbase: path.join(root, 'test'), platform: 'node', format: 'cjs', target: 'node20',
    external: [...natives, 'esbuild', 'playwright-core'], mainFields: ['module', 'main'], outExtension: { '.js': '.cjs' },
  });
  return files.map(f => path.join(root, 'dist', f.replace(/\.ts$/, '.cjs')));
}

function runTests(files, { concurrency = 1 } = {}) {
  if (!files.length) return undefined;
  return new Promise((resolve, reject) => {
    const stream = run({ files, concurrency, timeout: 40 * 60_000 });
    // A describe block reports too; only its leaves are counted.
    const leaf = data => data.details?.type !== 'suite' && !files.includes(data.name);
    stream.on('test:pass', data => { if (leaf(data)) { if (data.skip !== undefined || data.todo !== undefined) skipped++; else passed++; } });
    stream.on('test:fail', data => {
      // A suite, or a file, that fails by itself: a hook, an exit, the time limit.
      if (!leaf(data) && data.details?.error?.failureType === 'subtestsFailed') return;
      failed++;
      failures.push(describeFailure(data));
    });
    stream.on('error', reject);
    stream.on('end', resolve);
    stream.compose(new spec()).pipe(process.stdout);
  });
}

/** For the end of the output, where a failure is looked for; the whole of it stands where the test ran. */
function describeFailure({ name, file, details }) {
  const cause = details?.error?.cause ?? details?.error;
  const message = String(cause?.message ?? cause).split('\n').slice(0, 20).map(line => `  ${line.slice(0, 500)}`).join('\n');
  const source = path.relative(root, file ?? '').replace('dist/', '').replace('.cjs', '.ts');
  return `FAILED: ${name} (${source})\n${message}`;
}
