/**
 * Trains the embedded backbone from nothing on images that this project draws, with its own engine and training step:
 *
 *   node tools/pretrain.mjs [--steps 4000] [--batch 64] [--seed 1] [--out media/backbone/drawn-vit.safetensors]
 *
 * No image is seen twice: each step draws its own.
 */
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { channelNormalization } from '../src/common/normalization';
import { normals, streamKey } from '../src/common/random';
import type { Architecture } from '../src/common/trial';
import { drawTask } from '../src/data/drawn/draw-task';
import { pretrainingClasses } from '../src/data/drawn/pretraining';
import { patchify } from '../src/data/patchify';
import { engines } from '../src/engine/engines';
import type { HostTensor, HostTensors, Session } from '../src/engine/program';
import { floatToHalf, halfToFloat } from '../src/interop/half';
import { writeSafetensors } from '../src/interop/safetensors';
import full from '../src/methods/full';
import { computeMetrics } from '../src/train/metrics';
import { type Model, frozenTensors, initialState, prepareModel } from '../src/train/model';
import { optimizerScalars } from '../src/train/optimizer';
import { evaluationProgram, trainingProgram } from '../src/train/program';
import { type ScheduleSettings, learningRateAt } from '../src/train/schedule';
import { targetFeeds } from '../src/train/targets';
import { baseParameters } from '../src/vit/architecture';

const architecture: Architecture = {
  imageSize: 64, patch: 8, width: 96, depth: 6, heads: 3, hidden: 384, layerNormEpsilon: 1e-6, activation: 'gelu',
  preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
};
const classes = pretrainingClasses.length;
const weightDecay = 0.05;
const testImages = 1920;
const testSeed = 1_000_003; // no training image has it

interface Settings {
  steps: number;
  batch: number;
  seed: number;
  learningRate: number;
  out: string;
}

void main(readSettings());

async function main(settings: Settings): Promise<void> {
  const started = Date.now();
  const model = await prepareModel({ architecture, method: full, options: {}, classes, batch: settings.batch, dropPath: 0, dropout: false });
  const base = initialWeights(settings.seed);
  const session = await engines.graph.open({
    programs: { train: trainingProgram(model), evaluate: evaluationProgram(model) },
    state: initialState(model, { base, seed: settings.seed }), constants: frozenTensors(model, base), threads: os.availableParallelism(),
  });
  await train(session, model, settings);
  const rounded = await roundToHalf(session);
  const { top1 } = await evaluate(session, settings.batch);
  const minutes = (Date.now() - started) / 60_000;
  await save(settings, rounded, { top1, minutes });
  await session.dispose();
  console.log(`${(100 * top1).toFixed(1)} % of ${testImages} unseen images in ${classes} classes after ${minutes.toFixed(1)} minutes -> ${settings.out}`);
}

function readSettings(): Settings {
  const { values } = parseArgs({ options: {
    steps: { type: 'string', default: '4000' }, batch: { type: 'string', default: '64' }, seed: { type: 'string', default: '1' },
    'learning-rate': { type: 'string', default: '0.001' }, out: { type: 'string', default: 'media/backbone/drawn-vit.safetensors' },
  } });
  return {
    steps: Number(values.steps), batch: Number(values.batch), seed: Number(values.seed), learningRate: Number(values['learning-rate']), out: values.out,
  };
}

/** As timm starts a ViT: matrices, class token and positions ~ N(0, 0.02^2), LayerNorms at 1, biases at 0. */
function initialWeights(seed: number): HostTensors {
  return Object.fromEntries(baseParameters(architecture).map(({ name, shape }): [string, HostTensor] => {
    const count = shape.reduce((a, b) => a * b, 1);
    if (shape.length > 1) return [name, { shape, data: normals(streamKey(seed, 'pretraining', name), count).map(value => 0.02 * value) }];
    return [name, { shape, data: new Float32Array(count).fill(name.endsWith('.weight') ? 1 : 0) }];
  }));
}

async function train(session: Session, { batch }: Model, { steps, seed, learningRate }: Settings): Promise<void> {
  const schedule: ScheduleSettings = { schedule: 'cosine', learningRate, warmupEpochs: 0.05, warmupLearningRate: 1e-6, minimumLearningRate: 1e-5 };
  const started = Date.now();
  let recent = 0;
  for (let step = 0; step < steps; step++) {
    const rate = learningRateAt(step, schedule, { stepsPerEpoch: steps, epochs: 1 });
    const { patches, labels } = drawBatch({ count: batch, seed, first: step * batch });
    const targets = targetFeeds(labels, { classes, labelSmoothing: 0, classWeights: null });
    const { loss } = await session.call('train', { patches, ...targets, ...optimizerScalars({ step, learningRate: rate, weightDecay }) });
    recent += loss!.data[0]! / 100;
    if ((step + 1) % 100 === 0) {
      const rateOfWork = ((step + 1) * batch * 1000) / (Date.now() - started);
      console.log(`step ${step + 1} of ${steps}: loss ${recent.toFixed(3)}, ${rateOfWork.toFixed(0)} images/s`);
      recent = 0;
    }
  }
}

function drawBatch(options: { count: number; seed: number; first: number }): { patches: HostTensor; labels: Int32Array } {
  const { imageSize, patch } = architecture;
  const images = [...drawTask('pretraining', options)];
  const pixels = Buffer.concat(images.map(image => image.pixels));
  const data = patchify(pixels, { imageSize, patch, batch: options.count, normalization: channelNormalization('0.5') });
  return {
    patches: { shape: [(imageSize / patch) ** 2 * options.count, 3 * patch ** 2], data },
    labels: Int32Array.from(images, ({ label }) => label),
  };
}

/** What the file will hold: numbers of 16 bits. They go back into the session, so that the accuracy is the file's. */
async function roundToHalf(session: Session): Promise<HostTensors> {
  const state = await session.readState();
  const names = [...baseParameters(architecture).map(({ name }) => name), 'head.weight', 'head.bias'];
  const rounded = Object.fromEntries(names.map(name => {
    const { shape, data } = state[name]!;
    return [name, { shape, data: halfToFloat(floatToHalf(data as Float32Array)) }];
  }));
  await session.writeState(rounded);
  return rounded;
}

async function evaluate(session: Session, batch: number) {
  const all = { logits: [] as Float32Array[], labels: [] as number[] };
  for (let first = 0; first + batch <= testImages; first += batch) {
    const { patches, labels } = drawBatch({ count: batch, seed: testSeed, first });
    all.logits.push((await session.call('evaluate', { patches }))['logits']!.data as Float32Array);
    all.labels.push(...labels);
  }
  const logits = new Float32Array(all.labels.length * classes);
  all.logits.forEach((part, i) => logits.set(part, i * part.length));
  return computeMetrics(logits, all.labels, classes);
}

async function save({ out, steps, batch, seed }: Settings, tensors: HostTensors, result: { top1: number; minutes: number }): Promise<void> {
  const kept = Object.entries(tensors).filter(([name]) => !name.startsWith('head.'));
  await writeSafetensors(path.resolve(out), Object.fromEntries(kept.map(([name, { shape, data }]) => [name, { shape, data, dtype: 'F16' as const }])), {
    heads: String(architecture.heads), layerNormEpsilon: String(architecture.layerNormEpsilon), activation: architecture.activation,
    normalization: '0.5', licence: 'MIT',
    command: `node tools/pretrain.mjs --steps ${steps} --batch ${batch} --seed ${seed}`,
    accuracy: `${(100 * result.top1).toFixed(2)} % top-1 of ${testImages} unseen images, ${classes} classes`,
    minutes: result.minutes.toFixed(1), machine: `${os.cpus()[0]?.model ?? process.arch}, ${os.availableParallelism()} threads`,
  });
}
