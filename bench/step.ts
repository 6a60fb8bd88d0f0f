/**
 * Our side of bench/bench.mjs: times training steps of a method on a random backbone of a known shape.
 * Answers each line on standard input with one JSON line: a number is that many steps; `rates N` the rates of matrix
 * products, each computed N times; `export FILE` writes weights and images for the other side; `arithmetic` counts a
 * step's operations.
 */
import fs from 'node:fs';
import readline from 'node:readline';
import { parseArgs } from 'node:util';
import { collectGarbage } from '../src/common/collect-garbage';
import { fillKeepMask, normals, streamKey } from '../src/common/random';
import { defaultThreads } from '../src/engine/choose';
import { engines } from '../src/engine/engines';
import { productOperations } from '../src/engine/graph/arithmetic';
import { dropUnused } from '../src/engine/graph/passes';
import { trace } from '../src/engine/graph/trace';
import type { EngineId, HostTensors, Program, Recompute, Session, Weights } from '../src/engine/program';
import { tf } from '../src/engine/tfjs';
import { writeSafetensors } from '../src/interop/safetensors';
import { findMethod } from '../src/peft/registry';
import { frozenTensors, initialState, prepareModel, type Model } from '../src/train/model';
import { optimizerScalars } from '../src/train/optimizer';
import { chooseParts, memoryBudget } from '../src/train/parts';
import { trainingProgram } from '../src/train/program';
import { planStep, runTrainingStep, stepPrograms, stepState, type StepFeeds, type StepPlan } from '../src/train/step';
import { baseParameters } from '../src/vit/architecture';
import { presets } from '../src/vit/presets';

const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: 'deit_tiny_patch16_224' }, method: { type: 'string', default: 'lora' },
    engine: { type: 'string', default: 'native' }, batch: { type: 'string', default: '16' },
    classes: { type: 'string', default: '10' }, threads: { type: 'string', default: String(defaultThreads()) },
    images: { type: 'string', default: 'auto' }, recompute: { type: 'string', default: 'auto' },
    weights: { type: 'string', default: 'auto' },
    'drop-path': { type: 'string', default: '0' }, dropout: { type: 'boolean', default: false },
  },
});
const batch = Number(values.batch), threads = Number(values.threads);
const engine = engines[values.engine as EngineId];

void main();

async function main(): Promise<void> {
  const method = findMethod(values.method);
  const spec = {
    architecture: presets[values.arch]!, method, options: method.options.parse({}) as Record<string, unknown>,
    classes: Number(values.classes), batch, dropPath: Number(values['drop-path']), dropout: values.dropout,
  };
  const asked = { images: values.images === 'auto' ? 'auto' as const : Number(values.images), recompute: values.recompute as Recompute | 'auto' };
  const parts = await chooseParts({ spec, asked, engine, budget: memoryBudget(), warn: message => process.stderr.write(`${message}\n`) });
  const model = await prepareModel({ ...spec, batch: parts.images });
  const plan = await planStep(model, batch);
  let session: Session | undefined;
  let step = 0;
  const start = () => { // made when asked for: nothing but the session holds it during the steps
    const base = randomBackbone(model);
    return { base, state: initialState(model, { base, takesBase: true, seed: 1 }) };
  };
  const open = () => {
    const { base, state } = start();
    return engine.open({
      programs: stepPrograms(model, plan), state: { ...state, ...stepState(model, plan) }, ownsState: true, constants: frozenTensors(model, base), ownsConstants: true, threads,
      recompute: parts.recompute, weights: values.weights === 'auto' ? parts.weights : values.weights as Weights,
    });
  };
  const run = async () => {
    if (!session) {
      session = await open();
      collectGarbage();
    }
    const [started, used] = [performance.now(), process.cpuUsage()];
    const loss = await runTrainingStep(session, plan, { model, feeds: feedsOf(model, plan, step++) });
    const { user, system } = process.cpuUsage(used);
    return { ms: performance.now() - started, cpuMs: (user + system) / 1000, loss };
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, argument] = line.split(' ');
    if (command === 'rates') answer({ rates: await productRates(model, Number(argument)) });
    else if (command === 'arithmetic') answer({ operations: await arithmeticOf(model, start().base), parts });
    else if (command === 'export') {
      const [{ base, state }, images] = [start(), feedsOf(model, plan, 0).patches];
      await writeSafetensors(argument!, { ...base, ...Object.fromEntries(model.tensors.map(({ name }) => [name, state[name]!])), patches: images });
      answer({});
    } else {
      const results = [];
      for (let i = 0; i < Number(line); i++) results.push(await run());
      answer({ ms: results.map(r => r.ms), cpuMs: results.map(r => r.cpuMs), losses: results.map(r => r.loss), peakMiB: peakMemory() });
    }
  }
}

function answer(message: object): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Operations of a whole step, the last block not narrowed to the class tokens. */
async function arithmeticOf(model: Model, base: HostTensors): Promise<number> {
  const one = await prepareModel({ ...model, batch: 1 });
  return batch * productOperations(dropUnused(await trace({ program: trainingProgram(one), state: initialState(one, { base, seed: 1 }), constants: frozenTensors(one, base) })));
}

/** GFLOP/s of the MLP's products, forward and for the weights' gradient, `count` times each, for the step's and the part's rows. */
async function productRates({ architecture: { imageSize, patch, width, hidden }, batch: part }: Model, count: number): Promise<Record<string, number[]>> {
  const tokens = (imageSize / patch) ** 2 + 1;
  products ??= await Promise.all([...new Set([part * tokens, batch * tokens])].flatMap(rows => openProducts({ rows, width, hidden })));
  const rates: Record<string, number[]> = {};
  for (const { name, operations, session } of products) {
    rates[name] = [];
    for (let i = 0; i < count; i++) {
      const started = performance.now();
      await session.call('product', {});
      rates[name].push(operations / (performance.now() - started) / 1e6);
    }
  }
  return rates;
}
let products: ProductSession[] | undefined;

interface ProductSession {
  name: string;
  operations: number;
  session: Session;
}

function openProducts({ rows, width, hidden }: { rows: number; width: number; hidden: number }): Promise<ProductSession>[] {
  const [x, w, dy] = [[rows, width], [hidden, width], [rows, hidden]].map((shape, i) => ({ shape, data: normals(streamKey(7, `rate ${i}`), shape[0]! * shape[1]!) }));
  const program = (a: string, b: string, transposeA: boolean, transposeB: boolean): Program => ({
    feeds: [], run: tensors => ({ fetches: {}, state: { out: tf.matMul(tensors[a] as tf.Tensor2D, tensors[b] as tf.Tensor2D, transposeA, transposeB) } }),
  });
  const kinds = [['forward', [rows, hidden], program('x', 'w', false, true)], ['weights', [hidden, width], program('dy', 'x', true, false)]] as const;
  return kinds.map(async ([name, shape, product]) => {
    const state = { x: x!, w: w!, dy: dy!, out: { shape, data: new Float32Array(shape[0]! * shape[1]!) } };
    const session = await engine.open({ programs: { product }, state, constants: {}, threads });
    return { name: `${name} ${rows} rows`, operations: 2 * rows * width * hidden, session };
  });
}

function randomBackbone({ architecture }: Model): HostTensors {
  return Object.fromEntries(baseParameters(architecture).map(({ name, shape }) => {
    const size = shape.reduce((a, b) => a * b, 1);
    const isScale = /norm.*weight$/.test(name);
    const data = isScale ? new Float32Array(size).fill(1) : normals(streamKey(1, name), size);
    if (!isScale) for (let i = 0; i < size; i++) data[i]! *= 0.02; // in place: copies would count as ours until they are collected
    return [name, { shape, data }];
  }));
}

function feedsOf({ architecture: { imageSize, patch }, classes }: Model, { images, masks }: StepPlan, step: number): StepFeeds {
  const rows = (imageSize / patch) ** 2 * images;
  const columns = 3 * patch ** 2;
  pixels ??= normals(streamKey(2, 'pixels'), rows * columns);
  const drawn = Object.fromEntries(masks.map(({ name, shape, rate }) => {
    const data = maskBuffers.get(name) ?? new Uint8Array(shape.reduce((a, b) => a * b, 1));
    if (!maskBuffers.has(name)) fillKeepMask(data, rate, streamKey(3, name));
    maskBuffers.set(name, data);
    return [name, data];
  }));
  const targets = Float32Array.from({ length: images * classes }, (_, i) => (i % classes === Math.floor(i / classes) % classes ? 1 : 0));
  return {
    patches: { shape: [rows, columns], data: pixels },
    targets: { targets: { shape: [images, classes], data: targets }, weights: { shape: [images], data: new Float32Array(images).fill(1 / images) } },
    masks: drawn, count: images,
    scalars: optimizerScalars({ step, learningRate: 1e-3, weightDecay: 1e-4 }),
  };
}
let pixels: Float32Array | undefined;
const maskBuffers = new Map<string, Uint8Array>();

/** High-water mark of resident memory in MiB; 0 where the system does not say. */
function peakMemory(): number {
  const kib = /VmHWM:\s+(\d+)/.exec(fs.existsSync('/proc/self/status') ? fs.readFileSync('/proc/self/status', 'utf8') : '')?.[1];
  return Math.round(Number(kib ?? 0) / 1024);
}
