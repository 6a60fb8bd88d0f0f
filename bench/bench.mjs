// Trains the same thing here and in PyTorch, taking turns in one run: `npm run bench -- [options]`
//   --models deit_tiny_patch16_224:16,vit_base_patch16_224:8   backbones and their batches
//   --methods linear,full,...   --threads 2   --rounds 3   --steps 3 (a side, in a round)
//   --engine native   --compile (PyTorch's too)   --python PATH   --json
//   --without-avx512 (hidden from both sides: what a processor without it would do; Linux on Intel, with a C compiler)
// Backbones are random, of the real shape, and the same on both sides, adapters too; there is no dropout and no drop
// path, so that the losses must agree; after the run they are compared at the tenth step.
// Prints {machine, commit, rows: [{model, method, batch, oursMs, torchMs, ratio, oursMiB, torchMiB, memoryRatio, matrixShare, ...}]}:
// medians and peaks; ratio = torchMs / oursMs; matrixShare = the step's arithmetic, the last block not narrowed, / its time /
// the best rate of a matrix product that either side reaches at these shapes. Products take turns with the steps, in
// processes of their own, so that both are medians of the same minutes; matrixShareOfLeast sets the shortest step against the fastest product.
// The Python side needs torch, timm, peft and safetensors; without --python they are installed into bench/.venv (about 1 GB).
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { root } from '../esbuild.mjs';
import { bundle } from './bundle.mjs';

const bench = path.dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    models: { type: 'string', default: 'deit_tiny_patch16_224:16,vit_base_patch16_224:8' },
    methods: { type: 'string', default: 'linear,full,bitfit,ln,lora,adaptformer,vpt-deep' },
    threads: { type: 'string', default: '2' }, rounds: { type: 'string', default: '3' }, steps: { type: 'string', default: '3' },
    engine: { type: 'string', default: 'native' }, compile: { type: 'boolean', default: false },
    'without-avx512': { type: 'boolean', default: false },
    python: { type: 'string' }, json: { type: 'boolean', default: false },
  },
});

const timeLimit = 600_000;
const agreeingStep = 10;

await bundle();
const { engineEnvironment } = createRequire(import.meta.url)(path.join(root, 'dist/bench/runtimes.cjs'));
const python = values.python ?? madePython();
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-bench-'));
const environment = values['without-avx512'] ? { ...process.env, LD_PRELOAD: hidingLibrary() } : process.env;
const result = { machine: machine(), commit: commit(), engine: values.engine, threads: Number(values.threads), rows: [] };
try {
  for (const [model, batch] of values.models.split(',').map(entry => entry.split(':'))) {
    for (const method of values.methods.split(',')) {
      const row = await compare({ model, batch: Number(batch), method });
      result.rows.push(row);
      if (!values.json) console.log(describe(row));
      else console.error(describe(row));
    }
  }
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}
if (values.json) console.log(JSON.stringify(result, null, 1));
else console.log(result.machine);

async function compare({ model, batch, method }) {
  const tensors = path.join(scratch, 'tensors.safetensors');
  const settings = ['--arch', model, '--method', method, '--batch', String(batch), '--threads', values.threads];
  const ourProducts = side('our products', process.execPath, [path.join(root, 'dist/bench/step.cjs'), ...settings, '--engine', values.engine]);
  await ourProducts.ask(`export ${tensors}`);
  const { operations } = await ourProducts.ask('arithmetic');
  const ours = side('ours', process.execPath, [path.join(root, 'dist/bench/step.cjs'), ...settings, '--engine', values.engine], { env: engineEnvironment({ environment }) });
  await ours.turn(2); // alone: it looks whether the machine is idle
  const torch = side('PyTorch', python, [path.join(bench, 'torch_step.py'), ...settings, '--tensors', tensors]);
  await torch.turn(2);
  const torchProducts = side("PyTorch's products", python, [path.join(bench, 'torch_step.py'), ...settings, '--tensors', tensors]);
  const rates = { ours: ratesOf(ourProducts), torch: ratesOf(torchProducts) };
  for (const one of Object.values(rates)) await one.turn({ keep: false });
  for (let i = 0; i < Number(values.rounds) || ours.state.losses.length < agreeingStep; i++) {
    for (const one of [ours, torch]) await one.turn(Number(values.steps), { keep: true });
    for (const one of Object.values(rates)) await one.turn({ keep: true });
  }
  for (const one of [ours, torch, ourProducts, torchProducts]) await one.end();
  const compiled = values.compile ? await timeCompiled([...settings, '--tensors', tensors]) : null;
  const best = Math.max(rates.ours.best(), rates.torch.best()), luckiest = Math.max(rates.ours.luckiest(), rates.torch.luckiest());
  const [oursMs, torchMs] = [median(ours.state.ms), median(torch.state.ms)];
  const difference = Math.abs(ours.state.losses[agreeingStep - 1] - torch.state.losses[agreeingStep - 1]);
  return {
    model, method, batch, oursMs: round(oursMs), torchMs: round(torchMs), ratio: round(torchMs / oursMs),
    oursMiB: ours.state.peakMiB, torchMiB: torch.state.peakMiB, memoryRatio: round(ours.state.peakMiB / torch.state.peakMiB),
    matrixShare: round(operations / oursMs / 1e6 / best), torchMatrixShare: round(operations / torchMs / 1e6 / best),
    matrixShareOfLeast: round(operations / Math.min(...ours.state.ms) / 1e6 / luckiest),
    ratioOfLeast: round(Math.min(...torch.state.ms) / Math.min(...ours.state.ms)), ratioOfCpu: round(median(torch.state.cpuMs) / median(ours.state.cpuMs)),
    oursImagesPerSecond: round(batch / oursMs * 1000), gigaOperations: round(operations / 1e9), bestProductRate: round(best), ourProductRate: round(rates.ours.best()),
    lossAtStep10: ours.state.losses[agreeingStep - 1], torchLossAtStep10: torch.state.losses[agreeingStep - 1], lossesAgree: difference <= 1e-3 * Math.max(1, Math.abs(torch.state.losses[agreeingStep - 1])),
    ...compiled !== null && { torchCompiledMs: compiled },
  };
}

/** PyTorch's time with torch.compile, alone after both sides are gone; words when it does not work here. */
async function timeCompiled(settings) {
  const torch = side('torch.compile', python, [path.join(bench, 'torch_step.py'), ...settings, '--compile']);
  try {
    await torch.turn(3);
    await torch.turn(6, { keep: true });
    return round(median(torch.state.ms));
  } catch (error) {
    return error.message;
  } finally {
    torch.kill();
  }
}

/** A process that answers lines. */
function side(name, command, args, { env = environment } = {}) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
  const gone = new Promise((_, reject) => {
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`${name} exited with ${code}`)));
  });
  gone.catch(() => {});
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const state = { ms: [], cpuMs: [], losses: [], peakMiB: 0 };
  const ask = async line => {
    child.stdin.write(`${line}\n`);
    let timer;
    const late = new Promise((_, reject) => { timer = setTimeout(() => { child.kill('SIGKILL'); reject(new Error(`${name} gave no answer in ${timeLimit / 1000} s`)); }, timeLimit); });
    try {
      for (;;) {
        const { value, done } = await Promise.race([lines.next(), gone, late]);
        if (done) await Promise.race([gone, late]); // it closed its output: what follows is its end
        if (value?.startsWith('{')) return JSON.parse(value);
      }
    } finally {
      clearTimeout(timer);
    }
  };
  return {
    state, ask,
    async turn(steps, { keep = false } = {}) {
      const { ms, cpuMs, losses, peakMiB } = await ask(steps);
      state.losses.push(...losses);
      if (keep) { state.ms.push(...ms); state.cpuMs.push(...cpuMs); }
      state.peakMiB = peakMiB;
    },
    async end() {
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
      await gone.catch(() => {});
      clearTimeout(timer);
    },
    kill: () => child.kill('SIGKILL'),
  };
}

function describe({ model, method, batch, oursMs, torchMs, ratio, oursMiB, torchMiB, memoryRatio, matrixShare, lossesAgree }) {
  return `${model} b${batch} ${method}: ${oursMs} ms and ${torchMs} ms, ratio ${ratio}; ${oursMiB} and ${torchMiB} MiB, ratio ${memoryRatio}; matrix share ${matrixShare}; losses ${lossesAgree ? 'agree' : 'DIFFER'}`;
}

/** GFLOP/s of the matrix products that a side computes between the steps, but for the first of each turn: threads are still asleep then. */
function ratesOf(side) {
  const byName = new Map();
  return {
    async turn({ keep }) {
      const { rates } = await side.ask('rates 4');
      if (keep) for (const [name, [, ...warm]] of Object.entries(rates)) byName.set(name, [...byName.get(name) ?? [], ...warm]);
    },
    best: () => Math.max(...[...byName.values()].map(median)),
    luckiest: () => Math.max(...[...byName.values()].flat()),
  };
}

function median(list) {
  const sorted = [...list].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

function round(value) {
  return Math.round(value * 100) / 100;
}

function machine() {
  const info = fs.existsSync('/proc/cpuinfo') ? fs.readFileSync('/proc/cpuinfo', 'utf8') : '';
  const instructions = values['without-avx512'] ? 'AVX-512 hidden' : info.includes('avx512f') ? 'AVX-512' : info.includes('avx2') ? 'AVX2' : process.arch;
  return `${os.cpus()[0].model} x${os.cpus().length}, ${instructions}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, node ${process.version}`;
}

function commit() {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' }).trim();
  } catch {
    return null;
  }
}

/** Built from bench/without-avx512.c. */
function hidingLibrary() {
  const library = path.join(scratch, 'without-avx512.so');
  execFileSync('cc', ['-O2', '-shared', '-fPIC', '-o', library, path.join(bench, 'without-avx512.c'), '-ldl'], { stdio: 'inherit' });
  return library;
}

/** The interpreter of bench/.venv, made when it is not there. */
function madePython() {
  const folder = path.join(bench, '.venv');
  const binary = path.join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
  if (!fs.existsSync(path.join(folder, 'ready'))) {
    console.error('Installing torch, timm and peft into bench/.venv ...');
    execFileSync('python3', ['-m', 'venv', folder], { stdio: 'inherit' });
    execFileSync(binary, ['-m', 'pip', 'install', '-q', 'torch', 'timm', 'peft', 'safetensors'], { stdio: ['ignore', 2, 2] });
    fs.writeFileSync(path.join(folder, 'ready'), '');
  }
  return binary;
}
