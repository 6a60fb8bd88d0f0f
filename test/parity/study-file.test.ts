/**
 * The same numbers through the real command line: a study that starts from an adapter and trains three full batches in the
 * order of the list, without dropout and drop path, at a constant learning rate (../shared/reference/golden/README.md).
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { promisify } from 'node:util';
import sharp from 'sharp';
import type { TrialEvent } from '../../src/common/trial';
import { readLines } from '../../src/store/files';
import { attemptPaths, trialPaths } from '../../src/store/paths';
import { compareTrained, readTensors, tolerances } from '../fixtures/parity';

const golden = path.resolve('../shared/reference/golden');
const weights = path.resolve('../shared/weights/deit_tiny_patch16_224.safetensors');
const run = promisify(execFile);

it('a study file reproduces three steps of the study\'s code from its own starting point', async t => {
  if (!fs.existsSync(golden) || !fs.existsSync(weights)) return t.skip('../shared is not here');
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'peft-lab-parity-'));
  t.after(() => fs.rmSync(root, { recursive: true, force: true, maxRetries: 10 }));
  const call = (...args: string[]) => run(process.execPath, [path.resolve('bin/peft-lab.mjs'), ...args], {
    cwd: root, env: { ...process.env, PEFT_LAB_CACHE: path.join(root, 'cache') }, timeout: 5 * 60_000,
  });
  await copyImages(path.join(root, 'images'));
  fs.writeFileSync(path.join(root, 'parity.peft.json'), JSON.stringify(study, null, 2));
  const { tensors: expected } = await readTensors(path.join(golden, 'lora/expected.safetensors'));

  await call('import', path.join(golden, 'lora'), '--out', 'start', '--backbone', weights);
  await call('run', 'parity.peft.json');
  const trials = path.join(root, 'parity.peft/trials'), [id] = fs.readdirSync(trials);
  const { attempt } = trialPaths(path.join(trials, id!));
  const steps = (readLines(attemptPaths(attempt(1)).events) as TrialEvent[]).filter(event => event.type === 'step');
  assert.deepEqual(steps.map(({ learningRate }) => learningRate), [1e-3, 1e-3, 1e-3]);
  steps.forEach(({ loss }, step) => assert.ok(Math.abs(loss - expected['loss_steps']!.data[step]!) <= tolerances.loss, `loss of step ${step}: ${loss}`));
  const { tensors: trained } = await readTensors(path.join(trials, id!, 'adapter/adapter.safetensors'));
  const worst = compareTrained(trained, { trainables: Object.entries(trained).map(([name, { shape }]) => ({ name, shape, source: 'base' })) }, {
    logits: expected['logits_eval']!, loss: expected['loss_eval']!, lossSteps: expected['loss_steps']!,
    gradient: name => expected[`grad.${name}`]!, trained: name => expected[`train3.${name}`]!,
  });
  t.diagnostic(`trained tensors off by ${worst}`);
});

const study = {
  backbone: { file: weights },
  data: [{ path: 'images', format: 'vtab' }],
  methods: [{ method: 'lora', options: { rank: 8 } }],
  recipe: {
    init: 'start', steps: 3, batchSize: 8, shuffle: false, schedule: 'constant', learningRate: 1e-3, weightDecay: 0.01,
    dropout: false, dropPath: 0, normalization: '0.5',
  },
  evaluation: { splits: ['test'] },
  engine: 'graph',
};

/** The eight images to train on, listed in the golden order; their negatives to evaluate, since no image may be in two splits. */
async function copyImages(folder: string): Promise<void> {
  const lines = fs.readFileSync(path.join(golden, 'order.txt'), 'utf8').trim().split('\n');
  for (const line of lines) {
    const [file] = line.split(' '), from = path.join(golden, file!), to = path.join(folder, file!);
    fs.mkdirSync(path.dirname(to), { recursive: true });
    fs.copyFileSync(from, to);
    await sharp(from).negate().toFile(to.replace('.png', '-val.png'));
    await sharp(from).flop().toFile(to.replace('.png', '-test.png'));
  }
  const list = (name: string, ending: string) => fs.writeFileSync(path.join(folder, `${name}.txt`), `${lines.join('\n').replaceAll('.png', ending)}\n`);
  list('train', '.png');
  list('val', '-val.png');
  list('test', '-test.png');
}
