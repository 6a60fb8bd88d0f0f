/**
 * One side of bench/compare.mjs: times training steps of a method on a random backbone of a known shape.
 * `node step.cjs --arch deit_tiny_patch16_224 --method lora --batch 16 --steps 8`: waits for a line on standard input
 * before every block of steps, so that two sides can take turns, and answers with one JSON line a block.
 */
import readline from 'node:readline';
import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { fillKeepMask, normals, streamKey } from '../src/common/random';
import { engines } from '../src/engine/engines';
import type { EngineId, HostTensors, Recompute } from '../src/engine/program';
import { findMethod } from '../src/peft/registry';
import { frozenTensors, initialState, prepareModel, type Model } from '../src/train/model';
import { optimizerScalars } from '../src/train/optimizer';
import { planStep, runTrainingStep, stepPrograms, stepState, type StepFeeds, type StepPlan } from '../src/train/step';
import { baseParameters } from '../src/vit/architecture';
import { presets } from '../src/vit/presets';

const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: 'deit_tiny_patch16_224' }, method: { type: 'string', default: 'lora' },
    engine: { type: 'string', default: 'graph' }, batch: { type: 'string', default: '16' },
    classes: { type: 'string', default: '10' }, threads: { type: 'string', default: '2' },
    part: { type: 'string', default: '0' }, recompute: { type: 'string', default: 'off' },
    'drop-path': { type: 'string', default: '0.1' },
  },
});

void main();

async function main(): Promise<void> {
  const architecture = presets[values.arch]!;
  const batch = Number(values.batch);
  const method = findMethod(values.method);
  const options = method.options.parse({}) as Record<string, unknown>;
  const part = Number(values.part) || batch;
  const model = await prepareModel({ architecture, method, options, classes: Number(values.classes), batch: part, dropPath: Number(values['drop-path']), dropout: true });
  const plan = await planStep(model, batch);
  const base = randomBackbone(model);
  const session = await engines[values.engine as EngineId].open({
    programs: stepPrograms(model, plan), state: { ...initialState(model, { base, seed: 1 }), ...stepState(model, plan) },
    constants: frozenTensors(model, base), threads: Number(values.threads), recompute: values.recompute as Recompute,
  });
  let step = 0;
  const run = async () => {
    const [started, used] = [performance.now(), process.cpuUsage()];
    const loss = await runTrainingStep(session, plan, { model, feeds: feedsOf(model, plan, step++) });
    const { user, system } = process.cpuUsage(used);
    return { ms: performance.now() - started, cpuMs: (user + system) / 1000, loss };
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const results = [];
    for (let i = 0; i < Number(line); i++) results.push(await run());
    process.stdout.write(`${JSON.stringify({ ms: results.map(r => r.ms), cpuMs: results.map(r => r.cpuMs), loss: results.at(-1)!.loss, peakMiB: peakMemory() })}\n`);
  }
}

function randomBackbone({ architecture }: Model): HostTensors {
  return Object.fromEntries(baseParameters(architecture).map(({ name, shape }) => {
    const size = shape.reduce((a, b) => a * b, 1);
    const data = /norm.*weight$/.test(name) ? new Float32Array(size).fill(1) : normals(streamKey(1, name), size).map(v => v * 0.02);
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
