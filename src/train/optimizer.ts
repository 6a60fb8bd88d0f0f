/**
 * AdamW as PyTorch has it (Loshchilov and Hutter, arXiv 1711.05101): betas 0.9 and 0.999, epsilon 1e-8, decoupled
 * weight decay on everything that trains, but for what a method keeps from it.
 *
 *   p <- (1 - lr wd) p;   m <- m + (1 - b1)(g - m);   v <- b2 v + (1 - b2) g^2
 *   p <- p - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)
 *
 * What depends on the step comes in as scalars, computed in double precision on the host.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { HostTensor, HostTensors, TensorSpec, Tensors } from '../engine/program';
import { tf } from '../engine/tfjs';

const beta1 = 0.9;
const beta2 = 0.999;
const epsilon = 1e-8;

/** Names of a trained tensor's moments in the session's state. */
export const momentNames = (name: string) => ({ first: `adam.m/${name}`, second: `adam.v/${name}` });

export const optimizerFeeds: readonly TensorSpec[] = ['decay', 'step-size', 'second-scale']
  .map(name => ({ name: `adam.${name}`, shape: [], dtype: 'float32' }));

export interface StepSettings {
  /** Counts from 0. */
  step: number;
  learningRate: number;
  weightDecay: number;
}

/** The scalars of one step. */
export function optimizerScalars({ step, learningRate, weightDecay }: StepSettings): HostTensors {
  const scalar = (value: number): HostTensor => ({ shape: [], data: Float32Array.of(value) });
  return {
    'adam.decay': scalar(1 - learningRate * weightDecay),
    'adam.step-size': scalar(learningRate / (1 - beta1 ** (step + 1))),
    'adam.second-scale': scalar(1 / Math.sqrt(1 - beta2 ** (step + 1))),
  };
}

/** Zero moments for tensors that are about to train. */
export function initialMoments(tensors: readonly { name: string; shape: readonly number[] }[]): HostTensors {
  return Object.fromEntries(tensors.flatMap(({ name, shape }) => {
    const zeros = () => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
    return [[momentNames(name).first, zeros()], [momentNames(name).second, zeros()]];
  }));
}

/** New parameters and moments; `tensors` holds the present ones and the scalars. Names in `undecayed` are not decayed. */
export function adamw(gradients: Tensors, tensors: Tensors, undecayed: ReadonlySet<string> = new Set()): Tensors {
  return Object.fromEntries(Object.entries(gradients).flatMap(([name, gradient]) => {
    const { first, second } = momentNames(name);
    const m = tf.add(tensors[first]!, tf.mul(tf.sub(gradient, tensors[first]!), 1 - beta1));
    const v = tf.add(tf.mul(tensors[second]!, beta2), tf.mul(tf.square(gradient), 1 - beta2));
    return [[name, update(tensors[name]!, m, v, { tensors, decays: !undecayed.has(name) })], [first, m], [second, v]];
  }));
}

function update(parameter: Tensor, m: Tensor, v: Tensor, { tensors, decays }: { tensors: Tensors; decays: boolean }): Tensor {
  const root = tf.add(tf.mul(tf.sqrt(v), tensors['adam.second-scale']!), epsilon);
  const change = tf.div(tf.mul(m, tensors['adam.step-size']!), root);
  return tf.sub(decays ? tf.mul(parameter, tensors['adam.decay']!) : parameter, change);
}
