/**
 * The programs of a trial: a training step, an evaluation, and, to compare engines, the gradients.
 *
 * Feeds of training: `patches`, `targets` [batch, classes] with rows that sum to 1, `weights` [batch] that sum to 1
 * (0 for padding), the masks, the optimiser's scalars. Fetch: `loss` [], before the update. State: the trained tensors
 * and their moments.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../common/trial';
import type { Program, TensorSpec, Tensors } from '../engine/program';
import { runFused } from '../engine/fused';
import { tf } from '../engine/tfjs';
import { bindMethod, type TrainingNoise } from '../peft/bind';
import { forward, forwardTo, type ForwardOptions, type ForwardOutput } from '../vit/forward';
import { crossEntropy } from '../vit/operations';
import { stageActivation, stageShape } from '../vit/stages';
import { guardedUpdate, isScaled, scaledLoss, unscaled } from './loss-scaling';
import type { Model, ModelSpec } from './model';
import { adamw, optimizerFeeds } from './optimizer';

/** Where a program starts: what comes before is computed once and fed as `patches`; see vit/stages.ts. */
export interface ProgramStart {
  stage?: number | undefined;
}

export function trainingProgram(model: Model, { stage = 0 }: ProgramStart = {}): Program {
  return {
    feeds: [...lossFeeds(model, stage), ...maskFeeds(model), ...optimizerFeeds],
    run(tensors) {
      const { loss, gradients } = lossAndGradients(model, tensors, { noise: noiseOf(model, tensors), stage });
      const { state, fetches } = guardedUpdate(gradients, tensors, optimizerOf(model));
      return { fetches: { loss, ...fetches }, state };
    },
  };
}

/** Where gradients of a step's parts are added up. */
export const sumName = (name: string) => `sum/${name}`;

/**
 * Adds the gradients of a part of a step to the sums, after multiplying those by the feed `keep` [] (0 begins a step).
 * Other feeds and fetch as for training, but for the optimiser's scalars; weights sum to 1 over all parts.
 */
export function accumulationProgram(model: Model, { stage = 0 }: ProgramStart = {}): Program {
  return {
    feeds: [...lossFeeds(model, stage), ...maskFeeds(model), { name: 'keep', shape: [], dtype: 'float32' }],
    run(tensors) {
      const { loss, gradients } = lossAndGradients(model, tensors, { noise: noiseOf(model, tensors), stage });
      const sums = Object.entries(gradients).map(([name, gradient]) => [sumName(name), tf.add(gradient, keptSum(tensors[sumName(name)]!, tensors))] as const);
      return { fetches: { loss }, state: Object.fromEntries(sums) };
    },
  };
}

/** The sum, or 0 at the beginning of a step. What is not finite, as in a step of f16 that was skipped, must not stay. */
function keptSum(sum: Tensor, tensors: Tensors): Tensor {
  const keep = tensors['keep']!;
  return isScaled(tensors) ? runFused('Choose', { condition: tf.greater(keep, 0), a: sum, b: tf.zerosLike(sum) })[0]! : tf.mul(sum, keep);
}

/** The update that ends a step: feeds are the optimiser's scalars, gradients are the sums. */
export function updateProgram(model: Pick<Model, 'trainables'>): Program {
  const { trainables } = model;
  return {
    feeds: optimizerFeeds,
    run: tensors => guardedUpdate(Object.fromEntries(trainables.map(({ name }) => [name, tensors[sumName(name)]!])), tensors, optimizerOf(model)),
  };
}

function optimizerOf({ trainables }: Pick<Model, 'trainables'>): (gradients: Tensors, tensors: Tensors) => Tensors {
  const undecayed = new Set(trainables.filter(tensor => tensor.source !== 'base' && tensor.decay === false).map(({ name }) => name));
  return (gradients, tensors) => adamw(gradients, tensors, undecayed);
}

/** Feed `patches`; fetch `logits` [batch, classes]. No dropout, no drop path. */
export function evaluationProgram(model: Omit<ModelSpec, 'dropPath' | 'dropout'>, { stage = 0 }: ProgramStart = {}): Program {
  return {
    feeds: [patchesFeed(model, stage)],
    run: tensors => ({ fetches: { logits: outputs(model, tensors, { noise: null, stage }).logits }, state: {} }),
  };
}

/** Feed `patches`; fetch `prefix`: what a program that starts at `stage` is fed for these images. */
export function prefixProgram(model: Omit<ModelSpec, 'dropPath' | 'dropout'>, stage: number): Program {
  return {
    feeds: [patchesFeed(model)],
    run: tensors => ({ fetches: { prefix: forwardTo(stage, passOptions(model, tensors, null)) }, state: {} }),
  };
}

/** Everything in a forward pass that a prefix may end at, `stage/<k>`, and `logits`; to find out what depends on what. */
export function stagesProgram(model: Model, { training }: { training: boolean }): Program {
  return {
    feeds: [patchesFeed(model), ...training ? maskFeeds(model) : []],
    run(tensors) {
      const { logits, activations } = outputs(model, tensors, { noise: training ? noiseOf(model, tensors) : null, stage: 0 });
      const stages = Array.from({ length: model.architecture.depth + 1 }, (_, i) => i + 1);
      return { fetches: { logits, ...Object.fromEntries(stages.map(stage => [`stage/${stage}`, activations[stageActivation(model.architecture, stage)]!])) }, state: {} };
    },
  };
}

/** The backbone with its head alone, as after folding. Feed `patches`; fetch `logits` [batch, classes]. */
export function backboneProgram(model: { architecture: Architecture; batch: number }): Program {
  return {
    feeds: [patchesFeed(model)],
    run: tensors => ({ fetches: { logits: forward({ ...model, patches: tensors['patches']!, weights: name => tensors[name]! }).logits }, state: {} }),
  };
}

/** Fetches `loss` and `gradient/<name>` of every trained tensor, without dropout and drop path; changes nothing. */
export function gradientProgram(model: Model): Program {
  return {
    feeds: lossFeeds(model, 0),
    run(tensors) {
      const { loss, gradients } = lossAndGradients(model, tensors, { noise: null, stage: 0 });
      const named = Object.entries(gradients).map(([name, gradient]) => [`gradient/${name}`, gradient] as const);
      return { fetches: { loss, ...Object.fromEntries(named) }, state: {} };
    },
  };
}

interface Pass {
  /** Null outside training. */
  noise: TrainingNoise | null;
  stage: number;
}

function lossAndGradients(model: Model, tensors: Tensors, pass: Pass): { loss: Tensor; gradients: Tensors } {
  const names = model.trainables.map(({ name }) => name);
  const lossOf = (...values: Tensor[]) => {
    const trained = Object.fromEntries(names.map((name, i) => [name, values[i]!]));
    return scaledLoss(crossEntropy(outputs(model, { ...tensors, ...trained }, pass).logits, tensors['targets']!, tensors['weights']!), tensors) as tf.Scalar;
  };
  const { value, grads } = tf.valueAndGrads(lossOf)(names.map(name => tensors[name]!));
  return { loss: unscaled(value, tensors), gradients: Object.fromEntries(names.map((name, i) => [name, unscaled(grads[i]!, tensors)])) };
}

function outputs(model: Omit<ModelSpec, 'dropPath' | 'dropout'>, tensors: Tensors, { noise, stage }: Pass): ForwardOutput {
  return forward({ ...passOptions(model, tensors, noise), stage });
}

function passOptions(model: Omit<ModelSpec, 'dropPath' | 'dropout'>, tensors: Tensors, training: TrainingNoise | null): Omit<ForwardOptions, 'stage'> {
  const tensor = (name: string) => {
    const found = tensors[name];
    if (!found) throw new Error(`the program has no tensor '${name}'`);
    return found;
  };
  return { ...model, patches: tensor('patches'), weights: tensor, hooks: bindMethod({ ...model, tensor, training }) };
}

function noiseOf(model: Model, tensors: Tensors): TrainingNoise {
  const known = new Map(model.masks.map(mask => [mask.name, mask]));
  return {
    ...model,
    mask({ name, shape }) {
      const declared = known.get(name)?.shape.join();
      if (declared !== shape.join()) throw new Error(`mask '${name}' is [${shape.join()}] in the forward pass but was declared [${declared ?? ''}]`);
      return tensors[name]!;
    },
  };
}

function lossFeeds(model: ModelSpec, stage: number): TensorSpec[] {
  return [
    patchesFeed(model, stage),
    { name: 'targets', shape: [model.batch, model.classes], dtype: 'float32' },
    { name: 'weights', shape: [model.batch], dtype: 'float32' },
  ];
}

/** Rows `patch * batch + image`, as vit/forward.ts wants them; at a later stage tokens instead of patches. */
function patchesFeed({ architecture, batch }: { architecture: Architecture; batch: number }, stage = 0): TensorSpec {
  const { rows, columns } = stageShape(architecture, stage);
  return { name: 'patches', shape: [rows * batch, columns], dtype: 'float32' };
}

function maskFeeds({ masks }: Model): TensorSpec[] {
  return masks.map(({ name, shape }) => ({ name, shape, dtype: 'bool' }));
}
