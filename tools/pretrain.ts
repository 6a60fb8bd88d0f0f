/**
 * Trains the embedded backbone from nothing on images that this project draws, with its own engine and training step:
 *
 *   node tools/pretrain.mjs [--steps 5000] [--batch 32] [--seed 1] [--questions shape,texture,...] [--from FILE]
 *                           [--learning-rate 0.001] [--out media/backbone/drawn-vit.safetensors]
 *
 * No image is seen twice: each step draws its own. The head answers several questions about an image at once, each with
 * its part of the softmax: they are learned apart, far quicker than classes that know nothing of each other.
 */
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { argmax } from '../src/common/argmax';
import { channelNormalization } from '../src/common/normalization';
import { normals, streamKey } from '../src/common/random';
import type { Architecture } from '../src/common/trial';
import { drawPretrainingImages } from '../src/data/drawn/draw-task';
import { type PretrainingAnswers, pretrainingQuestions } from '../src/data/drawn/pretraining';
import { patchify } from '../src/data/patchify';
import { engines } from '../src/engine/engines';
import type { HostTensor, HostTensors, Session } from '../src/engine/program';
import { floatToHalf, halfToFloat } from '../src/interop/half';
import { openSafetensors, writeSafetensors } from '../src/interop/safetensors';
import full from '../src/methods/full';
import { frozenTensors, initialState, prepareModel } from '../src/train/model';
import { optimizerScalars } from '../src/train/optimizer';
import { evaluationProgram, trainingProgram } from '../src/train/program';
import { type ScheduleSettings, learningRateAt } from '../src/train/schedule';
import { baseParameters } from '../src/vit/architecture';
import { loadBackbone } from '../src/vit/weights';

const architecture: Architecture = {
  imageSize: 64, patch: 8, width: 96, depth: 6, heads: 3, hidden: 384, layerNormEpsilon: 1e-6, activation: 'gelu',
  preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
};
type Question = keyof PretrainingAnswers;
const allQuestions = Object.keys(pretrainingQuestions) as Question[];
const weightDecay = 0.05;
const testImages = 1920;
const testSeed = 1_000_003; // no training image has it

interface Settings {
  steps: number;
  batch: number;
  seed: number;
  learningRate: number;
  questions: Question[];
  /** A backbone of an earlier call to start from, or null to start from nothing. */
  from: string | null;
  out: string;
}

/** Which of the head's outputs answer a question. */
interface Group {
  question: Question;
  first: number;
  length: number;
}

void main(readSettings());

async function main(settings: Settings): Promise<void> {
  const started = Date.now();
  const groups = groupsOf(settings.questions);
  const classes = outputsOf(groups);
  const model = await prepareModel({ architecture, method: full, options: {}, classes, batch: settings.batch, dropPath: 0, dropout: false });
  const earlier = settings.from === null ? null : await readEarlier(settings.from);
  const base = earlier?.tensors ?? initialWeights(settings.seed);
  const session = await engines.graph.open({
    programs: { train: trainingProgram(model), evaluate: evaluationProgram(model) },
    state: initialState(model, { base, seed: settings.seed }), constants: frozenTensors(model, base), threads: os.availableParallelism(),
  });
  await train(session, groups, settings);
  const rounded = await roundToHalf(session);
  const accuracy = describeScores(await evaluate(session, groups, settings.batch));
  const minutes = (Date.now() - started) / 60_000;
  await save(settings, rounded, { accuracy, minutes, earlier: earlier?.metadata ?? null });
  await session.dispose();
  console.log(`${accuracy}, after ${minutes.toFixed(1)} minutes -> ${settings.out}`);
}

function readSettings(): Settings {
  const { values } = parseArgs({ options: {
    steps: { type: 'string', default: '5000' }, batch: { type: 'string', default: '32' }, seed: { type: 'string', default: '1' },
    questions: { type: 'string', default: allQuestions.join(',') }, from: { type: 'string' },
    'learning-rate': { type: 'string', default: '0.001' }, out: { type: 'string', default: 'media/backbone/drawn-vit.safetensors' },
  } });
  const whole = (name: 'steps' | 'batch' | 'seed') => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number of 1 or more, and is ${values[name]}`);
    return value;
  };
  const [steps, batch, seed] = [whole('steps'), whole('batch'), whole('seed')];
  if (testImages % batch) throw new Error(`--batch must divide the ${testImages} test images`);
  const questions = values.questions.split(',').map(name => {
    const found = allQuestions.find(question => question === name);
    if (!found) throw new Error(`--questions: there is no '${name}', but ${allQuestions.join(', ')}`);
    return found;
  });
  return { steps, batch, seed, questions, learningRate: Number(values['learning-rate']), from: values.from ?? null, out: values.out };
}

function groupsOf(questions: readonly Question[]): Group[] {
  const lengths = questions.map(question => pretrainingQuestions[question]);
  return questions.map((question, i) => ({ question, length: lengths[i]!, first: lengths.slice(0, i).reduce((sum, length) => sum + length, 0) }));
}

function outputsOf(groups: readonly Group[]): number {
  return groups.reduce((sum, { length }) => sum + length, 0);
}

async function readEarlier(file: string): Promise<{ tensors: HostTensors; metadata: Record<string, string> }> {
  const opened = await openSafetensors(file);
  await opened.close();
  return { tensors: (await loadBackbone({ file })).tensors, metadata: opened.metadata };
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

async function train(session: Session, groups: readonly Group[], { steps, batch, seed, learningRate }: Settings): Promise<void> {
  const schedule: ScheduleSettings = { schedule: 'cosine', learningRate, warmupEpochs: 0.05, warmupLearningRate: 1e-6, minimumLearningRate: 1e-5 };
  const started = Date.now();
  let recent = 0;
  for (let step = 0; step < steps; step++) {
    const rate = learningRateAt(step, schedule, { stepsPerEpoch: steps, epochs: 1 });
    const { patches, answers } = drawBatch({ count: batch, seed, first: step * batch });
    const { loss } = await session.call('train', { patches, ...targetFeeds(answers, groups), ...optimizerScalars({ step, learningRate: rate, weightDecay }) });
    recent += groups.length * (loss!.data[0]! - Math.log(groups.length)) / 100; // the questions' losses, summed
    if ((step + 1) % 100 === 0) {
      const rateOfWork = ((step + 1) * batch * 1000) / (Date.now() - started);
      console.log(`step ${step + 1} of ${steps}: loss ${recent.toFixed(3)}, ${rateOfWork.toFixed(0)} images/s`);
      recent = 0;
    }
  }
}

/** Each question's right answer gets an equal part. */
function targetFeeds(answers: readonly PretrainingAnswers[], groups: readonly Group[]): HostTensors {
  const outputs = outputsOf(groups);
  const targets = new Float32Array(answers.length * outputs);
  for (const [row, answer] of answers.entries()) {
    for (const { question, first } of groups) targets[row * outputs + first + answer[question]] = 1 / groups.length;
  }
  return {
    targets: { shape: [answers.length, outputs], data: targets },
    weights: { shape: [answers.length], data: new Float32Array(answers.length).fill(1 / answers.length) },
  };
}

function drawBatch(options: { count: number; seed: number; first: number }): { patches: HostTensor; answers: PretrainingAnswers[] } {
  const { imageSize, patch } = architecture;
  const images = [...drawPretrainingImages(options)];
  const pixels = Buffer.concat(images.map(image => image.pixels));
  const data = patchify(pixels, { imageSize, patch, batch: options.count, normalization: channelNormalization('0.5') });
  return {
    patches: { shape: [(imageSize / patch) ** 2 * options.count, 3 * patch ** 2], data },
    answers: images.map(image => image.answers),
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
  /** Share of unseen images with shape, texture and hue right, that is, of the right class; null where not all were asked. */
  top1: number | null;
  each: { question: Question; share: number }[];
}

async function evaluate(session: Session, groups: readonly Group[], batch: number): Promise<Scores> {
  const outputs = outputsOf(groups);
  const hits: Partial<Record<Question, boolean>>[] = [];
  for (let first = 0; first < testImages; first += batch) {
    const { patches, answers } = drawBatch({ count: batch, seed: testSeed, first });
    const { data } = (await session.call('evaluate', { patches }))['logits']!;
    for (const [row, answer] of answers.entries()) {
      hits.push(Object.fromEntries(groups.map(group => {
        const start = row * outputs + group.first;
        return [group.question, argmax(data.subarray(start, start + group.length)) === answer[group.question]];
      })));
    }
  }
  const shareOf = (questions: readonly Question[]) => hits.filter(hit => questions.every(question => hit[question])).length / testImages;
  const kind = ['shape', 'texture', 'hue'] as const;
  return {
    top1: kind.every(question => groups.some(group => group.question === question)) ? shareOf(kind) : null,
    each: groups.map(({ question }) => ({ question, share: shareOf([question]) })),
  };
}

function describeScores({ top1, each }: Scores): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const joint = top1 === null ? '' : `${percent(top1)} of ${testImages} unseen images in the right one of 96 classes; `;
  return joint + each.map(({ question, share }) => `${question} ${percent(share)} (of ${pretrainingQuestions[question]})`).join(', ');
}

interface Outcome {
  accuracy: string;
  minutes: number;
  /** Metadata of the backbone that this one started from. */
  earlier: Record<string, string> | null;
}

async function save({ steps, batch, seed, questions, from, learningRate, out }: Settings, tensors: HostTensors, { accuracy, minutes, earlier }: Outcome): Promise<void> {
  const kept = Object.entries(tensors).filter(([name]) => !name.startsWith('head.'));
  const command = `node tools/pretrain.mjs --steps ${steps} --batch ${batch} --seed ${seed} --learning-rate ${learningRate} --questions ${questions.join(',')}` +
    (from === null ? '' : ` --from ${path.basename(from)}`);
  const before = earlier ? [earlier['command'] ?? '', earlier['minutes'] ?? '0'] as const : null;
  await writeSafetensors(path.resolve(out), Object.fromEntries(kept.map(([name, { shape, data }]) => [name, { shape, data, dtype: 'F16' as const }])), {
    heads: String(architecture.heads), layerNormEpsilon: String(architecture.layerNormEpsilon), activation: architecture.activation,
    normalization: '0.5', licence: 'MIT', accuracy,
    command: before ? `${before[0]} && ${command}` : command,
    minutes: (minutes + Number(before?.[1] ?? 0)).toFixed(1),
    machine: `${os.cpus()[0]?.model ?? process.arch}, ${os.availableParallelism()} threads`,
  });
}
