/**
 * Into how many parts a step is cut, what of it is computed twice, and where frozen weights lie, from the memory that this
 * will take and what the machine has free.
 *
 * Where a processor computes, small parts are not only leaner but faster: their activations stay in its caches. On ONNX Runtime
 * LoRA on DeiT-Tiny takes 6 to 10 % less time with 4 images at once than with 16, and half the memory; with fewer images the
 * fixed cost of each node outweighs that. But each part adds up the gradients of all that trains: the more those are beside the
 * activations, as in full fine-tuning, the more images a part should have (bench/results). A device wants the whole step at once.
 */
import fs from 'node:fs';
import os from 'node:os';
import { UserError } from '../common/errors';
import { largestGrowth, peakBytes } from '../engine/graph/memory';
import { optimize } from '../engine/graph/passes';
import { recompute } from '../engine/graph/recompute';
import { sizeOf, type Trace, type Value } from '../engine/graph/nodes';
import { trace } from '../engine/graph/trace';
import type { Engine, FastParts, Recompute, Weights } from '../engine/program';
import { baseParameters } from '../vit/architecture';
import { frozenTensors, prepareModel, shapesOnly, type ModelSpec } from './model';
import { accumulationProgram, sumName, type ProgramStart } from './program';

export interface PartOptions {
  /** `batch` is that of a whole step. */
  spec: ModelSpec;
  start?: ProgramStart;
  /** What the study file asks for. */
  asked: { images: number | 'auto'; recompute: Recompute | 'auto' };
  /** Whether it computes in a device's memory, as opposed to the processor's caches, what it is fast with, and what building weights in takes. */
  engine: Pick<Engine, 'ownMemory' | 'builtInWeights' | 'fastParts'>;
  /** Bytes that activations may take. */
  budget: number;
  /** Told where nothing can be predicted. */
  warn(message: string): void;
}

export interface Parts {
  /** Images that are computed at once. */
  images: number;
  recompute: Recompute;
  /** Where frozen weights lie; absent where that cannot be told, and left to the engine. */
  weights?: Weights;
  /** Predicted bytes of activations at the worst moment; NaN where that cannot be told. */
  bytes: number;
}

/** What a session is opened with. */
export type PartsUsed = Omit<Parts, 'bytes'>;

/** Of engines that do not say it. */
const usualParts: FastParts = { images: 2, widest: 2.5 * 2 ** 20 };

/** How many times the bytes of what trains the activations of a part should have, for the adding up to be worth it. */
const worthAdding = 3;

/** Weights that take no more than this, with the activations, are always built in. */
const smallSession = 256 * 2 ** 20;

/** The largest part that fits, and no larger than is fast; recomputing only where a single image is too large otherwise. */
export async function chooseParts({ spec, start = {}, asked, engine, budget, warn }: PartOptions): Promise<Parts> {
  const predict = await predictor(spec, start).catch(untraceable);
  if (predict instanceof UserError) {
    warn(`what a step will hold cannot be predicted, so that nothing makes it smaller: ${predict.what}`);
    return { images: evenParts(spec.batch, asked.images === 'auto' ? spec.batch : asked.images), recompute: 'off', bytes: NaN };
  }
  const fast = engine.ownMemory ? spec.batch : fastImages(predict, engine.fastParts ?? usualParts);
  const most = evenParts(spec.batch, asked.images === 'auto' ? fast : asked.images);
  const modes: Recompute[] = asked.recompute === 'auto' ? ['off', 'attention', 'blocks'] : [asked.recompute];
  for (const mode of modes) {
    for (let images = most; images >= 1; images = images === 1 ? 0 : evenParts(spec.batch, Math.floor(images / 2))) {
      const bytes = predict.peak(images, mode);
      const isLast = images === 1 || asked.images !== 'auto';
      if (bytes <= budget || (isLast && mode === modes.at(-1))) return { images, recompute: mode, weights: placeWeights({ engine, bytes, budget, frozen: predict.frozen, whole: predict.peak(spec.batch, 'off') }), bytes };
      if (asked.images !== 'auto') break;
    }
  }
  throw new Error('there is no part of a step to choose'); // the last mode always returns
}

function fastImages({ widestOfOne, trained, ofOneMore }: Predictor, { images, widest }: FastParts): number {
  return Math.max(images, Math.round(widest / widestOfOne), Math.round(worthAdding * trained / ofOneMore));
}

/** Built in where there is room for that, and the engine gains enough by it. */
function placeWeights({ engine: { builtInWeights }, bytes, budget, frozen, whole }: Pick<PartOptions, 'engine' | 'budget'> & { bytes: number; frozen: number; whole: number }): Weights {
  if (!builtInWeights) return 'fed';
  const session = bytes + builtInWeights.copies * frozen;
  return session <= budget && session <= Math.max(smallSession, builtInWeights.worth * whole) ? 'built-in' : 'fed';
}

/** Engines that run operation by operation do without a trace; the others say themselves what they cannot trace. */
function untraceable(error: unknown): UserError {
  if (error instanceof UserError) return error;
  throw error;
}

/** Parts of one size, as near to it as leaves no part half empty: 10 images in parts of at most 4 are 4, 4 and 2. */
function evenParts(images: number, most: number): number {
  return Math.ceil(images / Math.ceil(images / Math.min(most, images)));
}

/** What is still free for activations: half of the memory that the system, or the container, has left. */
export function memoryBudget(): number {
  const limit = process.constrainedMemory?.() ?? 0;
  const inContainer = limit > 0 && limit < os.totalmem() ? Math.max(0, limit - process.memoryUsage.rss()) : Infinity;
  return Math.min(availableBytes(), inContainer) / 2;
}

/** What programs can have without swapping; Node's os.freemem leaves out what Linux would give up of its file cache. */
function availableBytes(): number {
  try {
    const kib = /MemAvailable:\s+(\d+)/.exec(fs.readFileSync('/proc/meminfo', 'utf8'))?.[1];
    if (kib) return Number(kib) * 1024;
  } catch { /* not Linux */ }
  return os.freemem();
}

interface Predictor {
  /** Bytes of the widest activation, for one image. */
  widestOfOne: number;
  /** Bytes of what trains. */
  trained: number;
  /** Bytes of the frozen weights that a step reads. */
  frozen: number;
  /** Bytes that one image more adds. */
  ofOneMore: number;
  peak(images: number, what: Recompute): number;
}

/**
 * From the lists of nodes for two and three images: everything grows linearly with the images or not at all. One image would leave
 * out nodes that copy something for each (prompts).
 */
async function predictor(spec: ModelSpec, start: ProgramStart): Promise<Predictor> {
  const [two, three] = [await listOf({ ...spec, batch: 2 }, start), await listOf({ ...spec, batch: 3 }, start)];
  return {
    widestOfOne: Math.max(1, largestGrowth(two, three)),
    ofOneMore: Math.max(1, peakBytes(three) - peakBytes(two)),
    trained: bytesOf([...two.updates.values()]),
    frozen: bytesOf([...two.inputs.values()].filter(({ source }) => source?.kind === 'constant')),
    peak(images, what) {
      const [a, b] = [peakBytes(recompute(two, what)), peakBytes(recompute(three, what))];
      return a + (images - 2) * (b - a);
    },
  };
}

function bytesOf(values: readonly Value[]): number {
  return 4 * values.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

/** What accumulates the gradients of some images. */
async function listOf(spec: ModelSpec, start: ProgramStart): Promise<Trace> {
  const model = await prepareModel(spec);
  const sums = model.trainables.map(({ name, shape }) => ({ name: sumName(name), shape }));
  return optimize(await trace({
    program: accumulationProgram(model, start), state: shapesOnly([...model.tensors, ...sums]), constants: frozenTensors(model, shapesOnly(baseParameters(spec.architecture))),
  }));
}
