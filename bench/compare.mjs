// Times one training step here and in PyTorch, taking turns in one run.
//   node bench/compare.mjs [--arch deit_tiny_patch16_224] [--method lora] [--batch 16] [--rounds 6] [--python PATH] [--json]
// Prints medians, least times, their ratio and both peaks of memory, with the machine. The Python side needs torch and
// timm; without --python they are installed into bench/.venv (about 1 GB).
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { common, natives, root } from '../esbuild.mjs';

const bench = path.dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: 'deit_tiny_patch16_224' }, method: { type: 'string', default: 'lora' }, batch: { type: 'string', default: '16' },
    threads: { type: 'string', default: '2' }, rounds: { type: 'string', default: '6' }, 'steps-per-round': { type: 'string', default: '4' },
    python: { type: 'string' }, ours: { type: 'string' }, theirs: { type: 'string' }, json: { type: 'boolean', default: false },
  },
});

if (!values.ours) await bundleStep();
const common_ = ['--arch', values.arch, '--method', values.method, '--batch', values.batch, '--threads', values.threads];
const ours = side('ours', process.execPath, [values.ours ?? path.join(root, 'dist/bench/step.cjs'), ...common_]);
await ours.turn(2); // alone: it looks whether the machine is idle
const torch = values.theirs ? side('theirs', process.execPath, [values.theirs, ...common_]) : side('PyTorch', values.python ?? python(), [path.join(bench, 'torch_step.py'), ...common_]);
await torch.turn(2);
for (let i = 0; i < Number(values.rounds); i++) {
  await ours.turn(Number(values['steps-per-round']), { keep: true });
  await torch.turn(Number(values['steps-per-round']), { keep: true });
}
ours.end();
torch.end();
report();

function side(name, command, args) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const gone = new Promise((_, reject) => child.once('exit', code => reject(new Error(`${name} exited with ${code}`))));
  gone.catch(() => {});
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const state = { ms: [], cpuMs: [], peakMiB: 0, loss: NaN };
  return {
    name, state,
    async turn(steps, { keep = false } = {}) {
      child.stdin.write(`${steps}\n`);
      const { value } = await Promise.race([lines.next(), gone]);
      const answer = JSON.parse(value);
      if (keep) state.ms.push(...answer.ms);
      if (keep) state.cpuMs.push(...answer.cpuMs);
      Object.assign(state, { peakMiB: answer.peakMiB, loss: answer.loss });
    },
    end: () => child.stdin.end(),
  };
}

function report() {
  const summary = Object.fromEntries([ours, torch].map(({ name, state }) => [name, {
    medianMs: round(median(state.ms)), leastMs: round(Math.min(...state.ms)), medianCpuMs: round(median(state.cpuMs)), imagesPerSecond: round(Number(values.batch) / median(state.ms) * 1000), peakMiB: state.peakMiB,
  }]));
  const ratio = median(torch.state.ms) / median(ours.state.ms);
  const least = Math.min(...torch.state.ms) / Math.min(...ours.state.ms);
  const machine = `${os.cpus()[0].model} x${os.cpus().length}, ${instructions()}, node ${process.version}`;
  const { arch, method, batch, threads } = values;
  const result = { arch, method, batch: Number(batch), threads: Number(threads), machine, commit: commit(), ...summary, ratio: round(ratio), ratioOfLeast: round(least), ratioOfCpu: round(median(torch.state.cpuMs) / median(ours.state.cpuMs)), memoryRatio: round(ours.state.peakMiB / torch.state.peakMiB) };
  console.log(values.json ? JSON.stringify(result) : JSON.stringify(result, null, 2));
}

function median(list) {
  const sorted = [...list].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

function round(value) {
  return Math.round(value * 100) / 100;
}

function instructions() {
  const info = fs.existsSync('/proc/cpuinfo') ? fs.readFileSync('/proc/cpuinfo', 'utf8') : '';
  return info.includes('avx512f') ? 'AVX-512' : info.includes('avx2') ? 'AVX2' : process.arch;
}

function commit() {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' }).trim();
  } catch {
    return null;
  }
}

async function bundleStep() {
  await build({
    ...common(), entryPoints: [path.join(bench, 'step.ts')], outdir: 'dist/bench', platform: 'node', format: 'cjs', target: 'node20',
    external: natives, mainFields: ['module', 'main'], outExtension: { '.js': '.cjs' },
  });
}

/** The interpreter of bench/.venv, made when it is not there. */
function python() {
  const folder = path.join(bench, '.venv');
  const binary = path.join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
  if (!fs.existsSync(path.join(folder, 'ready'))) {
    console.error('Installing torch and timm into bench/.venv ...');
    execFileSync('python3', ['-m', 'venv', folder], { stdio: 'inherit' });
    execFileSync(binary, ['-m', 'pip', 'install', '-q', 'torch', 'timm'], { stdio: 'inherit' });
    fs.writeFileSync(path.join(folder, 'ready'), '');
  }
  return binary;
}
