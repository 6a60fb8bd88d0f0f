// Linear probing on features that are computed once: ten epochs of DeiT-Tiny on hand signs (224 px, batch 16, 1,000 images) here,
// with nothing in any cache before; and in PyTorch, plain and on features. `node bench/cached.mjs [--python PATH]`
// Prints {machine, images, ours: {totalSeconds, epochs: images a second of each}, torch: {plainImagesPerSecond, featureSeconds, epochs, totalSeconds}, ratio}:
// ratio = images a second of our epochs after the first (median) / PyTorch's plain ones.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { python: { type: 'string', default: 'bench/.venv/bin/python' } } });
const bench = path.dirname(fileURLToPath(import.meta.url));
const shared = path.resolve(bench, '../../shared');
const [weights, data] = [path.join(shared, 'weights/deit_tiny_patch16_224.safetensors'), path.join(shared, 'data/signdigits')];
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-cached-'));
try {
  const theirs = JSON.parse(execFileSync(values.python, [path.join(bench, 'torch_cached.py'), '--weights', weights, '--data', data], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }));
  const ours = runOurs(theirs.images);
  const perSecond = seconds => theirs.images / seconds;
  const torch = {
    plainImagesPerSecond: Math.round(perSecond(theirs.plainEpochSeconds)), featureSeconds: theirs.featureSeconds,
    epochs: theirs.cachedEpochSeconds.map(perSecond).map(Math.round), totalSeconds: theirs.featureSeconds + sum(theirs.cachedEpochSeconds),
    totalSecondsPlain: 10 * theirs.plainEpochSeconds,
  };
  const later = median(ours.epochs.slice(1));
  console.log(JSON.stringify({ machine: `${os.cpus()[0].model} x${os.cpus().length}`, images: theirs.images, ours, torch, ratio: Math.round(later / torch.plainImagesPerSecond), ratioOnFeatures: later / median(torch.epochs.slice(1)) }, null, 1));
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}

function runOurs(images) {
  const study = path.join(scratch, 'cached.peft.json');
  fs.writeFileSync(study, JSON.stringify({
    backbone: { file: weights, architecture: { heads: 3, layerNormEpsilon: 1e-6, activation: 'gelu' }, normalization: 'imagenet' },
    data: [{ path: data }], methods: ['linear'],
    recipe: { epochs: 10, warmupEpochs: 1, batchSize: 16, dropPath: 0, trainOn: 'train+validation' },
    evaluation: { everyEpochs: 10, splits: ['test'] }, engine: 'graph',
  }));
  const started = performance.now();
  execFileSync(process.execPath, [path.join(bench, '../bin/peft-lab.mjs'), 'run', study], { stdio: ['ignore', 2, 2], env: { ...process.env, PEFT_LAB_CACHE: path.join(scratch, 'cache') } });
  const totalSeconds = (performance.now() - started) / 1000;
  const trials = path.join(scratch, 'cached.peft/trials');
  const attempt = path.join(trials, fs.readdirSync(trials)[0], 'attempts/1/events.jsonl');
  const events = fs.readFileSync(attempt, 'utf8').trim().split('\n').map(line => JSON.parse(line));
  return { totalSeconds, epochs: events.filter(e => e.type === 'epoch').map(e => Math.round(images / e.seconds)) };
}

function sum(list) {
  return list.reduce((a, b) => a + b, 0);
}

function median(list) {
  return [...list].sort((a, b) => a - b)[list.length >> 1];
}
