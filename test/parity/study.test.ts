/** DeiT-Tiny with each method against numbers that the study's own code produced (../shared/reference/golden/README.md). */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import sharp from 'sharp';
import type { HostTensors, Session } from '../../src/engine/program';
import { openSafetensors } from '../../src/interop/safetensors';
import { findMethod, parseMethodOptions } from '../../src/peft/registry';
import { frozenTensors, prepareModel, type Model } from '../../src/train/model';
import { initialMoments, optimizerScalars } from '../../src/train/optimizer';
import { evaluationProgram, gradientProgram, trainingProgram } from '../../src/train/program';
import { targetFeeds } from '../../src/train/targets';
import { loadBackbone } from '../../src/vit/weights';
import { fastestEngine } from '../fixtures/engines';

const golden = path.resolve(process.cwd(), '../shared/reference/golden');
const weights = path.resolve(process.cwd(), '../shared/weights/deit_tiny_patch16_224.safetensors');
const batch = 8, classes = 4;

/** Folder of the golden data, method id, options as in its config.json. */
const cases: [folder: string, id: string, options: Record<string, unknown>][] = [
  ['linear', 'linear', {}],
  ['bitfit', 'bitfit', {}],
  ['lora', 'lora', { rank: 8 }],
  ['adaptformer', 'adaptformer', { bottleneck: 8, scale: 0.1 }],
  ['vpt_deep', 'vpt-deep', { prompts: 5 }],
];

describe('parity with the study\'s code', () => {
  for (const [folder, id, options] of cases) {
    it(folder, async t => {
      if (!fs.existsSync(golden) || !fs.existsSync(weights)) return t.skip('../shared is not here');
      const engine = await fastestEngine(t);
      if (!engine) return;
      const [start, expected] = await Promise.all(['init', 'expected'].map(name => readTensors(path.join(golden, folder, `${name}.safetensors`)))) as [HostTensors, HostTensors];
      const backbone = await loadBackbone({ file: weights });
      const model = await prepareModel({
        architecture: backbone.architecture, method: findMethod(id), options: parseMethodOptions(id, options),
        classes, batch, dropPath: 0, dropout: false,
      });
      assert.deepEqual(Object.keys(start).sort(), model.trainables.map(({ name }) => name).sort());
      const session = await engine.open({
        programs: { train: trainingProgram(model), evaluate: evaluationProgram(model), gradient: gradientProgram(model) },
        state: { ...start, ...initialMoments(model.trainables) }, constants: frozenTensors(model, backbone.tensors), threads: 2,
      });
      try {
        await checkStart(t, session, model, expected);
        await checkTraining(session, model, expected);
      } finally {
        await session.dispose();
      }
    });
  }
});

async function checkStart(t: TestContext, session: Session, model: Model, expected: HostTensors): Promise<void> {
  const feeds = await goldenFeeds(model);
  const { logits } = await session.call('evaluate', { patches: feeds['patches']! });
  assert.ok(largestDifference(logits!.data, expected['logits_eval']!.data) <= 1e-4, 'logits');
  const gradients = await session.call('gradient', feeds);
  assert.ok(Math.abs(gradients['loss']!.data[0]! - expected['loss_eval']!.data[0]!) <= 2e-5, 'loss');
  let worst = 0;
  for (const { name } of model.trainables) {
    const [own, theirs] = [gradients[`gradient/${name}`]!, expected[`grad.${name}`]!].map(g => withoutKeyBias(name, g.data, model)) as [number[], number[]];
    const largest = theirs.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    const ratio = largestDifference(own, theirs) / largest;
    worst = Math.max(worst, ratio);
    assert.ok(ratio <= 1e-3, `gradient of ${name}: off by ${ratio} of its largest value`);
  }
  t.diagnostic(`logits off by ${largestDifference(logits!.data, expected['logits_eval']!.data).toExponential(1)}, gradients by ${worst.toExponential(1)} of their largest value`);
}

/** Three steps; parameters are compared where the gradient is not noise, with 0.1 % outliers allowed. */
async function checkTraining(session: Session, model: Model, expected: HostTensors): Promise<void> {
  const feeds = await goldenFeeds(model);
  for (let step = 0; step < 3; step++) {
    const { loss } = await session.call('train', { ...feeds, ...optimizerScalars({ step, learningRate: 1e-3, weightDecay: 0.01 }) });
    assert.ok(Math.abs(loss!.data[0]! - expected['loss_steps']!.data[step]!) <= 2e-5, `loss of step ${step}: ${loss!.data[0]} instead of ${expected['loss_steps']!.data[step]}`);
  }
  const state = await session.readState();
  let compared = 0, off = 0;
  for (const { name } of model.trainables) {
    expected[`grad.${name}`]!.data.forEach((gradient, i) => {
      if (Math.abs(gradient) < 1e-6) return;
      compared++;
      if (Math.abs(state[name]!.data[i]! - expected[`train3.${name}`]!.data[i]!) > 2e-5) off++;
    });
  }
  assert.ok(compared > 500 && off <= 1e-3 * compared, `${off} of ${compared} parameters differ after three steps`);
}

/** The eight PNGs, normalised to [-1, 1], as rows `patch * batch + image`. */
async function goldenFeeds({ architecture: { imageSize, patch } }: Model): Promise<HostTensors> {
  const lines = fs.readFileSync(path.join(golden, 'order.txt'), 'utf8').trim().split('\n').map(line => line.split(' '));
  const labels = Int32Array.from(lines, ([, label]) => Number(label));
  const grid = imageSize / patch, columns = 3 * patch * patch;
  const patches = new Float32Array(grid * grid * batch * columns);
  for (const [image, [name]] of lines.entries()) {
    const pixels = await sharp(path.join(golden, name!)).removeAlpha().raw().toBuffer();
    for (let y = 0; y < imageSize; y++) for (let x = 0; x < imageSize; x++) for (let channel = 0; channel < 3; channel++) {
      const token = Math.floor(y / patch) * grid + Math.floor(x / patch);
      const column = channel * patch * patch + (y % patch) * patch + x % patch;
      patches[(token * batch + image) * columns + column] = (pixels[(y * imageSize + x) * 3 + channel]! / 255 - 0.5) / 0.5;
    }
  }
  return { patches: { shape: [grid * grid * batch, columns], data: patches }, ...targetFeeds(labels, { classes, labelSmoothing: 0, classWeights: null }) };
}

async function readTensors(file: string): Promise<HostTensors> {
  const opened = await openSafetensors(file);
  try {
    const tensors: HostTensors = {};
    for (const [name, { shape }] of opened.tensors) tensors[name] = { shape, data: await opened.read(name) };
    return tensors;
  } finally {
    await opened.close();
  }
}

/** The key bias has no gradient but noise: softmax does not see it. */
function withoutKeyBias(name: string, values: ArrayLike<number>, { architecture: { width } }: Model): number[] {
  const all = Array.from(values);
  return name.endsWith('attn.qkv.bias') ? [...all.slice(0, width), ...all.slice(2 * width)] : all;
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}
