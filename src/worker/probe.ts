/**
 * The probe of an engine, a process of its own: `node dist/probe.cjs ENGINE THREADS`. It compares every gradient of a
 * small Vision Transformer with the reference engine's and times training steps; one JSON line says how it went. Whatever
 * happens to this process, only the engine it tried is out.
 */
import { describeError } from '../common/errors';
import { normals, streamKey } from '../common/random';
import type { Architecture } from '../common/trial';
import { engines } from '../engine/engines';
import type { EngineId, HostTensors, Program } from '../engine/program';
import type { ProbeOutcome } from '../engine/choose';
import { findMethod } from '../peft/registry';
import { frozenTensors, initialState, prepareModel, type Model } from '../train/model';
import { optimizerScalars } from '../train/optimizer';
import { gradientProgram, trainingProgram } from '../train/program';
import { baseParameters } from '../vit/architecture';

const shape: Architecture = {
  imageSize: 64, patch: 8, width: 192, depth: 1, heads: 3, hidden: 768, layerNormEpsilon: 1e-6, activation: 'gelu',
  preNorm: false, patchBias: true, layerScale: false, qkvBias: true,
};
const small: Architecture = { ...shape, imageSize: 32, width: 24, depth: 2, hidden: 96 };
const timedSteps = 5;

void main(process.argv[2] as EngineId, Number(process.argv[3] ?? 1));

async function main(id: EngineId, threads: number): Promise<void> {
  let outcome: ProbeOutcome;
  try {
    const gradientError = await compareGradients(id, threads);
    outcome = { gradientError, msPerStep: await timeSteps(id, threads) };
  } catch (error) {
    outcome = { error: describeError(error) };
  }
  process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0));
}

/** The largest max|difference| / max|gradient| of any tensor; the key bias, whose gradient is 0, left out. */
async function compareGradients(id: EngineId, threads: number): Promise<number> {
  const model = await modelOf(small, 4);
  const gradients = async (engine: EngineId) => callOnce(engine, { model, program: gradientProgram(model), threads, feeds: lossFeeds(model) });
  const [measured, reference] = [await gradients(id), await gradients('cpu')];
  return Math.max(...Object.keys(reference).map(name => relativeError(name, measured[name]!.data, reference[name]!.data)));
}

function relativeError(name: string, measured: ArrayLike<number>, reference: ArrayLike<number>): number {
  const width = reference.length / 3;
  let [difference, largest] = [0, 0];
  for (let i = 0; i < reference.length; i++) {
    if (name.endsWith('qkv.bias') && i >= width && i < 2 * width) continue;
    difference = Math.max(difference, Math.abs(measured[i]! - reference[i]!));
    largest = Math.max(largest, Math.abs(reference[i]!));
  }
  return Number.isFinite(difference) ? difference / largest : Infinity;
}

async function timeSteps(id: EngineId, threads: number): Promise<number> {
  const model = await modelOf(shape, 4);
  const base = backbone(model.architecture);
  const session = await engines[id].open({
    programs: { train: trainingProgram(model) }, state: initialState(model, { base, seed: 1 }), constants: frozenTensors(model, base), threads,
  });
  const times: number[] = [];
  for (let step = 0; step < (id === 'cpu' ? 1 : timedSteps); step++) {
    const started = performance.now();
    await session.call('train', { ...lossFeeds(model), ...optimizerScalars({ step, learningRate: 1e-3, weightDecay: 0 }) });
    times.push(performance.now() - started);
  }
  return Math.min(...times);
}

function modelOf(architecture: Architecture, batch: number): Promise<Model> {
  return prepareModel({ architecture, method: findMethod('full'), options: {}, classes: 5, batch, dropPath: 0, dropout: false });
}

interface OneCall { model: Model; program: Program; threads: number; feeds: HostTensors }

async function callOnce(id: EngineId, { model, program, threads, feeds }: OneCall): Promise<HostTensors> {
  const base = backbone(model.architecture);
  const session = await engines[id].open({ programs: { program }, state: initialState(model, { base, seed: 1 }), constants: frozenTensors(model, base), threads });
  const fetched = await session.call('program', feeds);
  await session.dispose();
  return fetched;
}

function backbone(architecture: Architecture): HostTensors {
  return Object.fromEntries(baseParameters(architecture).map(({ name, shape }) => {
    const scale = /norm.*weight$/.test(name) ? 1 : 0;
    return [name, { shape, data: normals(streamKey(1, name), shape.reduce((a, b) => a * b, 1)).map(v => scale + 0.2 * v) }];
  }));
}

function lossFeeds({ architecture: { imageSize, patch }, batch, classes }: Model): HostTensors {
  const patches = [(imageSize / patch) ** 2 * batch, 3 * patch ** 2];
  return {
    patches: { shape: patches, data: normals(streamKey(2, 'pixels'), patches[0]! * patches[1]!) },
    targets: { shape: [batch, classes], data: Float32Array.from({ length: batch * classes }, (_, i) => Number(i % classes === Math.floor(i / classes))) },
    weights: { shape: [batch], data: new Float32Array(batch).fill(1 / batch) },
  };
}
