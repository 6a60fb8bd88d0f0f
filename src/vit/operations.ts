/**
 * The operations that the backbone and the methods are written in, with gradients that keep no more than they need.
 * They run on every engine: eagerly under tfjs, or recorded by the graph engine.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { runFused } from '../engine/fused';
import { tf } from '../engine/tfjs';

/** x [rows, in] times weight [out, in] transposed, plus bias [out] where there is one -> [rows, out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  const product = tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D, false, true);
  return bias ? tf.add(product, bias) : product;
}

/** LayerNorm over the last axis: x [rows, width], gamma and beta [width]. */
export function layerNorm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: number): Tensor {
  return tf.add(tf.mul(normalize(x, epsilon), gamma), beta);
}

function normalize(x: Tensor, epsilon: number): Tensor {
  return tf.customGrad((x, save) => {
    const [normalized, inverse] = runFused('LayerNormalize', { x: x as Tensor }, { epsilon });
    (save as tf.GradSaveFunc)([normalized!, inverse!]);
    return {
      value: normalized!,
      gradFunc: (dy: Tensor, saved: Tensor[]) =>
        runFused('LayerNormalizeGradient', { dy, normalized: saved[0]!, inverse: saved[1]! })[0]!,
    };
  })(x);
}

/** Exact GELU, any shape. */
export function gelu(x: Tensor): Tensor {
  return tf.customGrad((x, save) => {
    (save as tf.GradSaveFunc)([x as Tensor]);
    return {
      value: runFused('Gelu', { x: x as Tensor })[0]!,
      gradFunc: (dy: Tensor, saved: Tensor[]) => runFused('GeluGradient', { dy, x: saved[0]! })[0]!,
    };
  })(x);
}

/** QuickGELU, x * sigmoid(1.702 x), as OpenAI's CLIP has it. */
export function quickGelu(x: Tensor): Tensor {
  return tf.mul(x, tf.sigmoid(tf.mul(x, 1.702)));
}

/** Each row of x [rows, width] divided by its Euclidean length. */
export function unitRows(x: Tensor): Tensor {
  return tf.customGrad((x, save) => {
    const inverse = tf.div(1, tf.sqrt(tf.sum(tf.mul(x as Tensor, x as Tensor), -1, true))); // [rows, 1]
    const unit = tf.mul(x as Tensor, inverse);
    (save as tf.GradSaveFunc)([unit, inverse]);
    return {
      value: unit,
      gradFunc: (dy: Tensor, [unit, inverse]: Tensor[]) =>
        tf.mul(tf.sub(dy, tf.mul(unit!, tf.sum(tf.mul(dy, unit!), -1, true))), inverse!),
    };
  })(x);
}

export interface AttentionShape {
  batch: number;
  heads: number;
}

/** Softmax attention; q [queries * batch, width], k and v [tokens * batch, width], rows token-major -> like q. */
export function attention(q: Tensor, k: Tensor, v: Tensor, { batch, heads }: AttentionShape): Tensor {
  const attributes = { batch, heads };
  return tf.customGrad((q, k, v, save) => {
    const inputs = { q: q as Tensor, k: k as Tensor, v: v as Tensor };
    const [o, p] = runFused('Attention', inputs, attributes);
    (save as unknown as tf.GradSaveFunc)([inputs.q, inputs.k, inputs.v, o!, p!]);
    return {
      value: o!,
      gradFunc: (dy: Tensor, [q, k, v, o, p]: Tensor[]) =>
        runFused('AttentionGradient', { dy, q: q!, k: k!, v: v!, o: o!, p: p! }, attributes),
    };
  })(q, k, v);
}

/**
 * The same attention as a chain of operations, for methods that change its scores before the softmax:
 * [batch * heads, queries, keys], already divided by sqrt(head width), heads of an image side by side.
 */
export function attentionOfScores(
  { q, k, v }: { q: Tensor; k: Tensor; v: Tensor }, shape: AttentionShape, change: (scores: Tensor) => Tensor,
): Tensor {
  const [queries, keys, values] = [q, k, v].map(x => splitHeads(x, shape)) as [Tensor, Tensor, Tensor];
  const scores = tf.mul(tf.matMul(queries, keys, false, true), 1 / Math.sqrt(queries.shape[2]!));
  const mixed = tf.matMul(tf.softmax(change(scores)), values);
  return tf.reshape(tf.transpose(mixed, [1, 0, 2]), q.shape);
}

/** [tokens * batch, width] -> [batch * heads, tokens, width / heads]. */
function splitHeads(x: Tensor, { batch, heads }: AttentionShape): Tensor {
  const [rows, width] = x.shape as [number, number];
  return tf.transpose(tf.reshape(x, [rows / batch, batch * heads, width / heads]), [1, 0, 2]);
}

/** x (any shape) plus values [k] at the elements that indices [k] (row-major, all different) name; indices have no gradient. */
export function addAtIndices(x: Tensor, indices: Tensor, values: Tensor): Tensor {
  return tf.customGrad((x, values, save) => {
    (save as unknown as tf.GradSaveFunc)([indices]);
    return {
      value: runFused('AddAtIndices', { x: x as Tensor, indices, values: values as Tensor })[0]!,
      gradFunc: (dy: Tensor, saved: Tensor[]) => [tf.clone(dy), runFused('TakeAtIndices', { x: dy, indices: saved[0]! })[0]!],
    };
  })(x, values);
}

/** x itself, through which no gradient flows back. */
export function detach(x: Tensor): Tensor {
  return tf.customGrad(x => ({ value: tf.clone(x as Tensor), gradFunc: (dy: Tensor) => tf.zerosLike(dy) }))(x);
}

/** Rows that each image gets: [count, width] -> [count * batch, width]; by adding zeros, since the gradient of a sum is cheaper than tile's. */
export function forEachImage(x: Tensor, batch: number): Tensor {
  const [count, width] = x.shape as [number, number];
  return tf.reshape(tf.add(tf.reshape(x, [count, 1, width]), tf.zeros([1, batch, 1])), [count * batch, width]);
}

/** Keeps x where `mask` (bool, broadcast against x) is 1, divided by the share `keep` that is kept on average. */
export function applyMask(x: Tensor, mask: Tensor, keep: number): Tensor {
  const scale = 1 / keep;
  return tf.customGrad((x, save) => {
    (save as tf.GradSaveFunc)([mask]);
    return {
      value: runFused('ApplyMask', { x: x as Tensor, mask }, { scale })[0]!,
      gradFunc: (dy: Tensor, saved: Tensor[]) => runFused('ApplyMask', { x: dy, mask: saved[0]! }, { scale })[0]!,
    };
  })(x);
}

/** Sum over samples of weight * cross entropy: logits and targets (rows sum to 1) [batch, classes], weights [batch] -> []. */
export function crossEntropy(logits: Tensor, targets: Tensor, weights: Tensor): Tensor {
  return tf.customGrad((logits, save) => {
    const logProbabilities = tf.logSoftmax(logits as Tensor);
    (save as tf.GradSaveFunc)([logProbabilities]);
    const each = tf.neg(tf.sum(tf.mul(targets, logProbabilities), -1));
    return {
      value: tf.sum(tf.mul(each, weights)),
      gradFunc: (dy: Tensor, saved: Tensor[]) => {
        const difference = tf.sub(tf.exp(saved[0]!), targets);
        return tf.mul(difference, tf.reshape(tf.mul(weights, dy), [-1, 1]));
      },
    };
  })(logits);
}
