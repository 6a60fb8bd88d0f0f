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
import { attributesOf, pretrainingAttributes, pretrainingClasses } from '../src/data/drawn/pretraining';
import { patchify } from '../src/data/patchify';
import { engines } from '../src/engine/engines';
import type { HostTensor, HostTensors, Session } from '../src/engine/program';
import { floatToHalf, halfToFloat } from '../src/interop/half';
import { writeSafetensors } from '../src/interop/safetensors';
import full from '../src/methods/full';
import { argmax } from '../src/train/metrics';
import { type Model, frozenTensors, initialState, prepareModel } from '../src/train/model';
import { optimizerScalars } from '../src/train/optimizer';
import { evaluationProgram, trainingProgram } from '../src/train/program';
import { type ScheduleSettings, learningRateAt } from '../src/train/schedule';
import { baseParameters } from '../src/vit/architecture';

const architecture: Architecture = {
  imageSize: 64, patch: 8, width: 96, depth: 6, heads: 3, hidden: 384, layerNormEpsilon: 1e-6, activation: 'gelu',
  preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
};
/** The head answers three questions at once; each answer has a third of the softmax. */
const groups = pretrainingAttributes.map(({ length }, i, all) => ({ length, first: all.slice(0, i).reduce((sum, other) => sum + other.length, 0) }));
const outputs = groups.reduce((sum, { length }) => sum + length, 0);
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
  const model = await prepareModel({ architecture, method: full, options: {}, classes: outputs, batch: settings.batch, dropPath: 0, dropout: false });
  const base = initialWeights(settings.seed);
  const session = await engines.graph.open({
    programs: { train: trainingProgram(model), evaluate: evaluationProgram(model) },
    state: initialState(model, { base, seed: settings.seed }), constants: frozenTensors(model, base), threads: os.availableParallelism(),
  });
  await train(session, model, settings);
  const rounded = await roundToHalf(session);
  const scores = await evaluate(session, settings.batch);
  const minutes = (Date.now() - started) / 60_000;
  await save(settings, rounded, { ...scores, minutes });
  await session.dispose();
  console.log(`${describeScores(scores)}, after ${minutes.toFixed(1)} minutes -> ${settings.out}`);
}

function readSettings(): Settings {
  const { values } = parseArgs({ options: {
    steps: { type: 'string', default: '4000' }, batch: { type: 'string', default: '64' }, seed: { type: 'string', default: '1' },
    'learning-rate': { type: 'string', default: '0.001' }, out: { type: 'string', default: 'media/backbone/drawn-vit.safetensors' },
  } });
  const whole = (name: 'steps' | 'batch' | 'seed') => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number of 1 or more, and is ${values[name]}`);
    return value;
  };
  const [steps, batch, seed] = [whole('steps'), whole('batch'), whole('seed')];
  if (testImages % batch) throw new Error(`--batch must divide the ${testImages} test images`);
  return { steps, batch, seed, learningRate: Number(values['learning-rate']), out: values.out };
}

/** As timm starts a ViT: matrices and class token ~ N(0, 0.02^2), LayerNorms at 1, biases at 0; but positions that mean something. */
function initialWeights(seed: number): HostTensors {
  return Object.fromEntries(baseParameters(architecture).map(({ name, shape }): [string, HostTensor] => {
    const count = shape.reduce((a, b) => a * b, 1);
    if (name === 'pos_embed') return [name, { shape, data: wavePositions(architecture) }];
    if (shape.length > 1) return [name, { shape, data: normals(streamKey(seed, 'pretraining', name), count).map(value => 0.02 * value) }];
    return [name, { shape, data: new Float32Array(count).fill(name.endsWith('.weight') ? 1 : 0) }];
  }));
}

/**
 * Positions as sines and cosines of row and column, which is where learned ones end up (Beyer et al., arXiv 2205.01580):
 * a quarter of the width each, wavelengths from two patches on. The class token's is 0.
 */
function wavePositions({ imageSize, patch, width }: Architecture): Float32Array {
  const side = imageSize / patch, quarter = width / 4;
  const out = new Float32Array((1 + side * side) * width);
  for (let token = 0; token < side * side; token++) {
    for (let i = 0; i < quarter; i++) {
      const frequency = Math.PI / 32 ** (i / (quarter - 1));
      const angles = [token % side, Math.floor(token / side)].map(place => place * frequency);
      [Math.sin(angles[0]!), Math.cos(angles[0]!), Math.sin(angles[1]!), Math.cos(angles[1]!)]
        .forEach((value, part) => (out[(1 + token) * width + part * quarter + i] = 0.2 * value));
    }
  }
  return out;
}

async function train(session: Session, { batch }: Model, { steps, seed, learningRate }: Settings): Promise<void> {
  const schedule: ScheduleSettings = { schedule: 'cosine', learningRate, warmupEpochs: 0.05, warmupLearningRate: 1e-6, minimumLearningRate: 1e-5 };
  const started = Date.now();
  let recent = 0;
  for (let step = 0; step < steps; step++) {
    const rate = learningRateAt(step, schedule, { stepsPerEpoch: steps, epochs: 1 });
    const { patches, labels } = drawBatch({ count: batch, seed, first: step * batch });
    const { loss } = await session.call('train', { patches, ...targetFeeds(labels), ...optimizerScalars({ step, learningRate: rate, weightDecay }) });
    recent += groups.length * (loss!.data[0]! - Math.log(groups.length)) / 100; // the three questions' losses, summed
    if ((step + 1) % 100 === 0) {
      const rateOfWork = ((step + 1) * batch * 1000) / (Date.now() - started);
      console.log(`step ${step + 1} of ${steps}: loss ${recent.toFixed(3)}, ${rateOfWork.toFixed(0)} images/s`);
      recent = 0;
    }
  }
}

/** A third on each right answer: the questions are learned apart, far quicker than 96 classes that know nothing of each other. */
function targetFeeds(labels: Int32Array): HostTensors {
  const targets = new Float32Array(labels.length * outputs);
  labels.forEach((label, row) => attributesOf(label).forEach((value, group) => {
    targets[row * outputs + groups[group]!.first + value] = 1 / groups.length;
  }));
  return {
    targets: { shape: [labels.length, outputs], data: targets },
    weights: { shape: [labels.length], data: new Float32Array(labels.length).fill(1 / labels.length) },
  };
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

interface Scores {
  /** Share of unseen images with all three answers right, that is, of the right class. */
  top1: number;
  /** Shape, texture, hue. */
  each: number[];
}

async function evaluate(session: Session, batch: number): Promise<Scores> {
  let right = 0;
  const each = groups.map(() => 0);
  for (let first = 0; first < testImages; first += batch) {
    const { patches, labels } = drawBatch({ count: batch, seed: testSeed, first });
    const { data } = (await session.call('evaluate', { patches }))['logits']!;
    labels.forEach((label, row) => {
      const hits = attributesOf(label).map((value, group) => {
        const start = row * outputs + groups[group]!.first;
        return argmax(data.subarray(start, start + groups[group]!.length)) === value;
      });
      hits.forEach((hit, group) => (each[group]! += hit ? 1 / testImages : 0));
      if (hits.every(Boolean)) right++;
    });
  }
  return { top1: right / testImages, each };
}

async function save({ out, steps, batch, seed }: Settings, tensors: HostTensors, result: Scores & { minutes: number }): Promise<void> {
  const kept = Object.entries(tensors).filter(([name]) => !name.startsWith('head.'));
  await writeSafetensors(path.resolve(out), Object.fromEntries(kept.map(([name, { shape, data }]) => [name, { shape, data, dtype: 'F16' as const }])), {
    heads: String(architecture.heads), layerNormEpsilon: String(architecture.layerNormEpsilon), activation: architecture.activation,
    normalization: '0.5', licence: 'MIT',
    command: `node tools/pretrain.mjs --steps ${steps} --batch ${batch} --seed ${seed}`,
    accuracy: describeScores(result),
    minutes: result.minutes.toFixed(1), machine: `${os.cpus()[0]?.model ?? process.arch}, ${os.availableParallelism()} threads`,
  });
}

function describeScores({ top1, each }: Scores): string {
  const [shape, texture, hue] = each.map(share => `${(100 * share).toFixed(1)} %`);
  return `${(100 * top1).toFixed(1)} % of ${testImages} unseen images right in ${pretrainingClasses.length} classes (shape ${shape}, texture ${texture}, hue ${hue})`;
}
