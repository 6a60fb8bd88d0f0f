/**
 * One optimiser step on a session. A step of more images than the model's programs take is done in parts: the gradients
 * of a few images at a time are added up where they lie, then one update follows. Parts need a fraction of the memory,
 * and what they compute stays in the processor's caches; the sum is that of the whole step but for the order of additions.
 *
 * Masks are drawn for the whole step and cut, so that a part's size changes no random number.
 */
import type { HostTensor, HostTensors, Program, Session } from '../engine/program';
import type { MaskRequest } from '../peft/bind';
import { collectMasks } from '../peft/masks';
import { eventLoopTurn } from './evaluate';
import type { Model } from './model';
import { accumulationProgram, sumName, trainingProgram, updateProgram, type ProgramStart } from './program';

export interface StepPlan {
  /** Images of a step; the model's batch is that of a part. */
  images: number;
  parts: number;
  /** Of the whole step. */
  masks: StepMask[];
}

/** A mask for all images of a step. */
export interface StepMask extends MaskRequest {
  /** The axis along which images run, fastest, within groups of one token; null: one mask for all images. */
  imageAxis: number | null;
}

/** How steps of `images` are computed with the model's programs, whose batch is at most that. */
export async function planStep(model: Model, images: number): Promise<StepPlan> {
  const parts = Math.ceil(images / model.batch);
  const whole = parts === 1 ? model.masks : await collectMasks({ ...model, batch: images });
  return { images, parts, masks: whole.map((mask, i) => ({ ...mask, imageAxis: imageAxis(mask, model.masks[i]!) })) };
}

/** The axis whose length depends on how many images there are. */
function imageAxis(whole: MaskRequest, part: MaskRequest): number | null {
  const axis = whole.shape.findIndex((side, i) => side !== part.shape[i]);
  return axis < 0 ? null : axis;
}

/** `train`, or `accumulate` and `update`. */
export function stepPrograms(model: Model, { parts }: Pick<StepPlan, 'parts'>, start: ProgramStart = {}): Record<string, Program> {
  return parts === 1 ? { train: trainingProgram(model, start) } : { accumulate: accumulationProgram(model, start), update: updateProgram(model) };
}

/** What the programs keep beside the trained tensors and their moments: sums of gradients, which each step begins anew. */
export function stepState({ trainables }: Pick<Model, 'trainables'>, { parts }: Pick<StepPlan, 'parts'>): HostTensors {
  if (parts === 1) return {};
  return Object.fromEntries(trainables.map(({ name, shape }) => [sumName(name), { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) }]));
}

/** What a step is given, each tensor for all of its images. */
export interface StepFeeds {
  /** [tokens * images, columns], token-major. */
  patches: HostTensor;
  /** `targets` [images, classes] and `weights` [images], which sum to 1. */
  targets: HostTensors;
  /** By name. */
  masks: Record<string, Uint8Array>;
  /** The optimiser's scalars. */
  scalars: HostTensors;
  /** Images that are not padding; they come first. */
  count: number;
}

/** Runs one step; resolves to the loss before it. */
export async function runTrainingStep(session: Session, plan: StepPlan, { model, feeds }: { model: Pick<Model, 'batch'>; feeds: StepFeeds }): Promise<number> {
  const { patches, targets, masks, scalars } = feeds;
  if (plan.parts === 1) {
    const whole = Object.fromEntries(plan.masks.map(({ name, shape }) => [name, { shape, data: masks[name]! }]));
    const { loss } = await session.call('train', { patches, ...targets, ...whole, ...scalars });
    return loss!.data[0]!;
  }
  const loss = await accumulateGradients(session, plan, { model, feeds, continues: false });
  await session.call('update', scalars);
  return loss;
}

export interface Accumulation {
  model: Pick<Model, 'batch'>;
  feeds: Omit<StepFeeds, 'scalars'>;
  /** Whether gradients are added to the sums that are there already. */
  continues: boolean;
}

/** Runs the program `accumulate` on all images of a step, part after part; resolves to the loss. */
export async function accumulateGradients(session: Session, plan: StepPlan, { model, feeds, continues }: Accumulation): Promise<number> {
  const { patches, targets, masks, count } = feeds;
  let sum = 0;
  for (let first = 0; first < count; first += model.batch) {
    const cut = { first, count: model.batch, images: plan.images };
    const { loss } = await session.call('accumulate', {
      keep: { shape: [], data: Float32Array.of(first || continues ? 1 : 0) },
      patches: cutImages(patches, 0, cut),
      ...Object.fromEntries(Object.entries(targets).map(([name, tensor]) => [name, cutImages(tensor, 0, cut)])),
      ...Object.fromEntries(plan.masks.map(({ name, shape, imageAxis }) => {
        const mask: HostTensor = { shape, data: masks[name]! };
        return [name, imageAxis === null ? mask : cutImages(mask, imageAxis, cut)];
      })),
    });
    sum += loss!.data[0]!;
    await eventLoopTurn();
  }
  return sum;
}

/**
 * The part of a tensor that belongs to some of the step's images; beyond the last image, zeros. `axis` has k * images
 * elements, in groups of all images.
 */
function cutImages<T extends HostTensor>({ shape, data }: T, axis: number, { first, count, images }: { first: number; count: number; images: number }): HostTensor {
  const groups = shape.slice(0, axis + 1).reduce((a, b) => a * b, 1) / images;
  const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const taken = Math.min(count, images - first) * stride;
  const make = data instanceof Uint8Array ? Uint8Array : Float32Array;
  const part = new make(groups * count * stride);
  for (let group = 0; group < groups; group++) {
    const from = (group * images + first) * stride;
    part.set(data.subarray(from, from + taken), group * count * stride);
  }
  return { shape: shape.map((side, i) => (i === axis ? side / images * count : side)), data: part };
}
