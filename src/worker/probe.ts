/**
 * The probe of an engine, a process of its own: `node dist/probe.cjs ENGINE THREADS ARCHITECTURE PRECISION`. It compares
 * every gradient with the reference engine's and times training steps, both in the shape of the backbone that is to train;
 * one JSON line says how it went. Whatever happens to this process, only the engine it tried is out.
 *
 * The reference is plain JavaScript and a hundred times slower, so the shape is tried in two parts: the backbone's widths
 * with hardly any tokens, and its tokens with hardly any width. Steps are timed with one or two blocks.
 */
import { describeError, UserError } from '../common/errors';
import { normals, streamKey } from '../common/random';
import type { Architecture } from '../common/trial';
import { engines } from '../engine/engines';
import type { ProbeOutcome, ProbeQuestion } from '../engine/probe-process';
import type { HostTensors, Program, Session } from '../engine/program';
import { findMethod } from '../peft/registry';
import { frozenTensors, initialState, prepareModel, type Model } from '../train/model';
import { optimizerScalars } from '../train/optimizer';
import { gradientProgram, trainingProgram } from '../train/program';
import { baseParameters, gridSide } from '../vit/architecture';

const timedBatch = 4;
const timedSizes = [{ blocks: 1, batch: 1 }, { blocks: 2, batch: timedBatch }];
const timedSteps = 5;
/** Steps of a size are timed no longer than this; one that would take longer than that is foretold from a smaller one. */
const timedMilliseconds = 3000, foretoldMilliseconds = 20_000;

void main(process.argv.slice(2));

async function main([engine, threads, architecture, precision]: string[]): Promise<void> {
  let outcome: ProbeOutcome;
  try {
    outcome = await tryEngine({ engine: engine as ProbeQuestion['engine'], threads: Number(threads), architecture: JSON.parse(architecture!) as Architecture, precision: precision as ProbeQuestion['precision'] });
  } catch (error) {
    outcome = { error: describeError(error) };
  }
  process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0));
}

async function tryEngine(question: ProbeQuestion): Promise<ProbeOutcome> {
  const errors: number[] = [];
  let pace = Infinity;
  for (const architecture of partsOf(question.architecture)) {
    const { error, milliseconds } = await compareGradients(question, architecture);
    errors.push(error);
    pace = Math.min(pace, milliseconds / workOf(architecture, 2));
  }
  return { gradientError: Math.max(...errors), ...await timeSteps(question, pace) };
}

/** All of the backbone's widths, with four patches; and all of its patches, two heads wide. */
function partsOf(whole: Architecture): Architecture[] {
  const { patch, heads, width, hidden, depth } = whole;
  const narrow = Math.min(2, heads) / heads;
  return [
    { ...whole, imageSize: 2 * patch, depth: 1 },
    { ...whole, depth: Math.min(depth, 1), heads: Math.min(2, heads), width: width * narrow, hidden: Math.ceil(hidden * narrow) },
  ];
}

/** Largest max|difference| / max|gradient| of any tensor, and how long the engine took for it once it was warm. */
async function compareGradients({ engine, threads, precision }: ProbeQuestion, architecture: Architecture): Promise<{ error: number; milliseconds: number }> {
  const model = await modelOf(architecture, 2);
  const program = gradientProgram(model), feeds = lossFeeds(model);
  const session = await open(engine, { model, program, threads, precision });
  const measured = await session.call('program', feeds);
  const started = performance.now();
  await session.call('program', feeds);
  const milliseconds = performance.now() - started;
  await session.dispose();
  const exact = await open('cpu', { model, program, threads: 1, precision: 'f32' });
  const reference = await exact.call('program', feeds);
  await exact.dispose();
  return { error: Math.max(...Object.keys(reference).map(name => relativeError(name, measured[name]!.data, reference[name]!.data))), milliseconds };
}

/** The key bias, whose gradient is 0, is left out. Throws a UserError where a value is not finite. */
function relativeError(name: string, measured: ArrayLike<number>, reference: ArrayLike<number>): number {
  const width = reference.length / 3;
  let [difference, largest] = [0, 0];
  for (let i = 0; i < reference.length; i++) {
    if (!Number.isFinite(measured[i])) throw new UserError({ what: `its ${name.replace('gradient/', 'gradient of ')} is not finite` });
    if (name.endsWith('qkv.bias') && i >= width && i < 2 * width) continue;
    difference = Math.max(difference, Math.abs(measured[i]! - reference[i]!));
    largest = Math.max(largest, Math.abs(reference[i]!));
  }
  if (largest > 0) return difference / largest;
  return difference > 0 ? Number.MAX_VALUE : 0; // JSON has no Infinity
}

/** `pace`: milliseconds for a unit of workOf, from the gradients. A larger step is tried where the one before lets hope. */
async function timeSteps(question: ProbeQuestion, pace: number): Promise<{ msPerStep: number; how?: string }> {
  const { architecture } = question;
  const work = workOf(architecture, timedBatch);
  let best: { msPerStep: number; how?: string } = { msPerStep: pace * work, how: 'foretold from a much smaller one' };
  for (const { blocks, batch } of timedSizes) {
    const part = { ...architecture, depth: Math.min(blocks, architecture.depth) };
    if (pace * workOf(part, batch) > foretoldMilliseconds) break;
    const { milliseconds, execution } = await timeStep(question, { part, batch, foretold: pace * workOf(part, batch) });
    pace = milliseconds / workOf(part, batch);
    const isPart = part.depth < architecture.depth || batch < timedBatch;
    const how = [...isPart ? [`measured with ${part.depth} of ${architecture.depth} blocks`] : [], ...execution].join('; ');
    best = { msPerStep: pace * work, ...how && { how } };
  }
  return best;
}

interface TimedStep { part: Architecture; batch: number; foretold: number }

/** Least time of a training step with all gradients, and how the engine executes it where it has several ways. */
async function timeStep({ engine, threads, precision }: ProbeQuestion, { part, batch, foretold }: TimedStep): Promise<{ milliseconds: number; execution: string[] }> {
  const model = await modelOf(part, batch);
  const session = await open(engine, { model, program: trainingProgram(model), threads, precision });
  const times: number[] = [];
  // The first call compiles, which may take longer than all steps: a second one is timed if that will be short.
  const least = foretold < timedMilliseconds ? 2 : 1;
  for (let step = 0, spent = 0; step < least || (step < timedSteps && spent < timedMilliseconds); step++) {
    const started = performance.now();
    await session.call('program', { ...lossFeeds(model), ...optimizerScalars({ step, learningRate: 1e-3, weightDecay: 0 }) });
    times.push(performance.now() - started);
    spent += times.at(-1)!;
  }
  const execution = session.execution?.();
  await session.dispose();
  return { milliseconds: Math.min(...times), execution: execution ? [execution.how, ...execution.reasons] : [] };
}

/** Multiplications of a forward pass, in millions. */
function workOf({ imageSize, patch, width, hidden, depth }: Architecture, batch: number): number {
  const tokens = (imageSize / patch) ** 2 + 1;
  return batch * tokens * (3 * patch ** 2 * width + depth * (4 * width ** 2 + 2 * tokens * width + 2 * width * hidden)) / 1e6;
}

function modelOf(architecture: Architecture, batch: number): Promise<Model> {
  return prepareModel({ architecture, method: findMethod('full'), options: {}, classes: 5, batch, dropPath: 0, dropout: false });
}

interface OpenOptions { model: Model; program: Program; threads: number; precision: ProbeQuestion['precision'] }

function open(engine: ProbeQuestion['engine'], { model, program, threads, precision }: OpenOptions): Promise<Session> {
  const base = backbone(model.architecture);
  return engines[engine].open({ programs: { program }, state: initialState(model, { base, seed: 1 }), constants: frozenTensors(model, base), threads, precision });
}

/** Random, with products of the size that lets every gradient be well above rounding. */
function backbone(architecture: Architecture): HostTensors {
  return Object.fromEntries(baseParameters(architecture).map(({ name, shape }) => {
    const isScale = /norm\w*\.weight$|gamma$/.test(name);
    const std = shape.length > 1 ? 1 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1)) : 0.2;
    return [name, { shape, data: normals(streamKey(1, name), shape.reduce((a, b) => a * b, 1)).map(v => (isScale ? 1 : 0) + std * v) }];
  }));
}

function lossFeeds({ architecture, batch, classes }: Model): HostTensors {
  const patches = [gridSide(architecture) ** 2 * batch, 3 * architecture.patch ** 2];
  return {
    patches: { shape: patches, data: normals(streamKey(2, 'pixels'), patches[0]! * patches[1]!) },
    targets: { shape: [batch, classes], data: Float32Array.from({ length: batch * classes }, (_, i) => Number(i % classes === Math.floor(i / classes))) },
    weights: { shape: [batch], data: new Float32Array(batch).fill(1 / batch) },
  };
}
