/**
 * Loss scaling for products in f16 (Micikevicius et al., arXiv 1710.03740): the loss is multiplied so that small
 * gradients do not vanish in f16's range, gradients are divided by as much in f32, and a step whose gradients are not
 * finite changes nothing and halves the scale. The scale doubles after `growAfter` finite steps, as in PyTorch.
 *
 * A scaled program has the feed `loss-scale` [] more and, where it updates, the fetch `finite` [] (1 or 0) more. The
 * scale is part of the progress, which a checkpoint holds: a resumed trial goes on with the same bits.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { UserError } from '../common/errors';
import { runFused } from '../engine/fused';
import type { Precision, Program, Session, Tensors } from '../engine/program';
import { tf } from '../engine/tfjs';

export interface LossScale {
  scale: number;
  /** Since the scale last changed. */
  finiteSteps: number;
  /** Steps that changed nothing: the optimiser has not counted them. */
  skipped: number;
}

export const initialLossScale = (): LossScale => ({ scale: 2 ** 16, finiteSteps: 0, skipped: 0 });

const growAfter = 2000;
const largestScale = 2 ** 24;
const feedName = 'loss-scale';
/** Above what a sum of finite gradients comes to; what is not finite is not below it. */
const largestSum = 3e38;

/** The scale after a step. Throws a UserError when gradients are not finite without any scaling either. */
export function nextLossScale({ scale, finiteSteps, skipped }: LossScale, finite: boolean): LossScale {
  if (finite) return finiteSteps + 1 < growAfter ? { scale, finiteSteps: finiteSteps + 1, skipped } : { scale: Math.min(2 * scale, largestScale), finiteSteps: 0, skipped };
  if (scale <= 1) {
    throw new UserError({
      what: 'the gradients are not finite in f16, whatever the loss is scaled by', where: 'recipe.precision',
      remedy: 'Lower recipe.learningRate, or set recipe.precision to "bf16" or "f32".',
    });
  }
  return { scale: scale / 2, finiteSteps: 0, skipped: skipped + 1 };
}

/** Programs that train, made so that their loss is scaled where the precision asks for it. */
export function withLossScaling(programs: Record<string, Program>, precision: Precision = 'f32'): Record<string, Program> {
  if (precision !== 'f16') return programs;
  return Object.fromEntries(Object.entries(programs).map(([name, { feeds, run }]) => [name, { feeds: [...feeds, { name: feedName, shape: [], dtype: 'float32' }], run }]));
}

/** A session whose scaled programs are fed the scale, which follows what they say. Programs are known by their names. */
export function scaleLoss(session: Session, names: readonly string[], progress: { lossScale?: LossScale | undefined }): Session {
  return {
    ...session,
    async call(program, feeds) {
      if (!names.includes(program)) return session.call(program, feeds);
      const lossScale = (progress.lossScale ??= initialLossScale());
      const fetched = await session.call(program, { ...feeds, [feedName]: { shape: [], data: Float32Array.of(lossScale.scale) } });
      if (fetched['finite']) progress.lossScale = nextLossScale(lossScale, fetched['finite'].data[0] === 1);
      return fetched;
    },
  };
}

/** Within a program: whether its loss is scaled. */
export function isScaled(tensors: Tensors): boolean {
  return feedName in tensors;
}

/** Within a program: the loss to take the gradient of. */
export function scaledLoss(loss: Tensor, tensors: Tensors): Tensor {
  const scale = tensors[feedName];
  return scale ? tf.mul(loss, scale) : loss;
}

/** Within a program: what scaledLoss and its gradients were before scaling. */
export function unscaled(value: Tensor, tensors: Tensors): Tensor {
  const scale = tensors[feedName];
  return scale ? tf.div(value, scale) : value;
}

/** Within a program: an update that, in a scaled one, is made where all gradients are finite, and not at all otherwise. */
export function guardedUpdate(gradients: Tensors, tensors: Tensors, update: (gradients: Tensors, tensors: Tensors) => Tensors): { state: Tensors; fetches: Tensors } {
  const state = update(gradients, tensors);
  if (!tensors[feedName]) return { state, fetches: {} };
  const sum = Object.values(gradients).map(gradient => tf.sum(tf.abs(gradient))).reduce((a, b) => tf.add(a, b));
  const condition = tf.lessEqual(sum, largestSum);
  const kept = Object.entries(state).map(([name, value]) => [name, runFused('Choose', { condition, a: value, b: tensors[name]! })[0]!] as const);
  return { state: Object.fromEntries(kept), fetches: { finite: tf.cast(condition, 'float32') } };
}
