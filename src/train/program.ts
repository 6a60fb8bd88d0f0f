/**
 * The programs of a trial: a training step, an evaluation, and, for tests, the gradients.
 *
 * Feeds of training: `patches`, `targets` [batch, classes] with rows that sum to 1, `weights` [batch] that sum to 1
 * (0 for padding), the masks, the optimiser's scalars. Fetch: `loss` [], before the update. State: the trained tensors
 * and their moments.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../common/trial';
import type { Program, TensorSpec, Tensors } from '../engine/program';
import { tf } from '../engine/tfjs';
import { bindMethod, type TrainingNoise } from '../peft/bind';
import { forward } from '../vit/forward';
import { crossEntropy } from '../vit/operations';
import type { Model, ModelSpec } from './model';
import { adamw, optimizerFeeds } from './optimizer';

export function trainingProgram(model: Model): Program {
  return {
    feeds: [...lossFeeds(model), ...maskFeeds(model), ...optimizerFeeds],
    run(tensors) {
      const { loss, gradients } = lossAndGradients(model, tensors, noiseOf(model, tensors));
      return { fetches: { loss }, state: adamw(gradients, tensors) };
    },
  };
}

/** Feed `patches`; fetch `logits` [batch, classes]. No dropout, no drop path. */
export function evaluationProgram(model: Omit<ModelSpec, 'dropPath' | 'dropout'>): Program {
  return {
    feeds: [patchesFeed(model)],
    run: tensors => ({ fetches: { logits: logits(model, tensors, null) }, state: {} }),
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
    feeds: lossFeeds(model),
    run(tensors) {
      const { loss, gradients } = lossAndGradients(model, tensors, null);
      const named = Object.entries(gradients).map(([name, gradient]) => [`gradient/${name}`, gradient] as const);
      return { fetches: { loss, ...Object.fromEntries(named) }, state: {} };
    },
  };
}

function lossAndGradients(model: Model, tensors: Tensors, noise: TrainingNoise | null): { loss: Tensor; gradients: Tensors } {
  const names = model.trainables.map(({ name }) => name);
  const lossOf = (...values: Tensor[]) => {
    const trained = Object.fromEntries(names.map((name, i) => [name, values[i]!]));
    return crossEntropy(logits(model, { ...tensors, ...trained }, noise), tensors['targets']!, tensors['weights']!) as tf.Scalar;
  };
  const { value, grads } = tf.valueAndGrads(lossOf)(names.map(name => tensors[name]!));
  return { loss: value, gradients: Object.fromEntries(names.map((name, i) => [name, grads[i]!])) };
}

function logits(model: Omit<ModelSpec, 'dropPath' | 'dropout'>, tensors: Tensors, training: TrainingNoise | null): Tensor {
  const tensor = (name: string) => {
    const found = tensors[name];
    if (!found) throw new Error(`the program has no tensor '${name}'`);
    return found;
  };
  const hooks = bindMethod({ ...model, tensor, training });
  return forward({ ...model, patches: tensor('patches'), weights: tensor, hooks }).logits;
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

function lossFeeds(model: ModelSpec): TensorSpec[] {
  return [
    patchesFeed(model),
    { name: 'targets', shape: [model.batch, model.classes], dtype: 'float32' },
    { name: 'weights', shape: [model.batch], dtype: 'float32' },
  ];
}

/** Rows `patch * batch + image`, as vit/forward.ts wants them. */
function patchesFeed({ architecture, batch }: { architecture: Architecture; batch: number }): TensorSpec {
  const { imageSize, patch } = architecture;
  return { name: 'patches', shape: [(imageSize / patch) ** 2 * batch, 3 * patch ** 2], dtype: 'float32' };
}

function maskFeeds({ masks }: Model): TensorSpec[] {
  return masks.map(({ name, shape }) => ({ name, shape, dtype: 'bool' }));
}
