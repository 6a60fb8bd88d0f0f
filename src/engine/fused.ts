/**
 * Fused kernels: the few compound operations of a transformer for which an engine may have something better than a
 * chain of tfjs operations. Eager backends run the chain (`compose`); the graph engine emits one node of its own.
 *
 * None has a gradient: they stand inside the custom gradients of vit/operations.ts.
 */
import type { NamedAttrMap, NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import { tf } from './tfjs';

export interface FusedKernel {
  /** Inputs by name and attributes to outputs, in tfjs operations. */
  compose(inputs: Record<string, Tensor>, attributes: Record<string, number>): Tensor[];
}

export const fusedKernels = {
  /** x [rows, width] -> normalised x [rows, width] (no scale, no shift) and 1 / standard deviation [rows, 1]. */
  LayerNormalize: {
    compose: ({ x }, { epsilon }) => {
      const centered = tf.sub(x!, tf.mean(x!, -1, true));
      const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centered), -1, true), epsilon!));
      return [tf.mul(centered, inverse), inverse];
    },
  },
  /** Gradient of LayerNormalize: dy, normalised [rows, width], inverse [rows, 1] -> dx. */
  LayerNormalizeGradient: {
    compose: ({ dy, normalized, inverse }) => {
      const mean = tf.mean(dy!, -1, true);
      const projection = tf.mean(tf.mul(dy!, normalized!), -1, true);
      return [tf.mul(tf.sub(tf.sub(dy!, mean), tf.mul(normalized!, projection)), inverse!)];
    },
  },
  /** Exact GELU: x * Phi(x). */
  Gelu: {
    compose: ({ x }) => [tf.mul(x!, normalCdf(x!))],
  },
  /** dy * (Phi(x) + x * phi(x)). */
  GeluGradient: {
    compose: ({ dy, x }) => {
      const density = tf.mul(tf.exp(tf.mul(tf.square(x!), -0.5)), 1 / Math.sqrt(2 * Math.PI));
      return [tf.mul(dy!, tf.add(normalCdf(x!), tf.mul(x!, density)))];
    },
  },
  /**
   * Softmax attention. q [queries * batch, width], k and v [tokens * batch, width], rows token-major
   * -> output [queries * batch, width], probabilities [batch * heads, queries, tokens].
   */
  Attention: {
    compose: ({ q, k, v }, attributes) => {
      const heads = attributes as unknown as Heads;
      const [Q, K, V] = [q!, k!, v!].map(x => splitHeads(x, heads)) as [Tensor, Tensor, Tensor];
      const scale = 1 / Math.sqrt(Q.shape[2]!);
      const probabilities = tf.softmax(tf.mul(tf.matMul(Q, K, false, true), scale));
      return [joinHeads(tf.matMul(probabilities, V), q!.shape), probabilities];
    },
  },
  /** Gradient of Attention with its output o and probabilities p -> dq, dk, dv. */
  AttentionGradient: {
    compose: ({ dy, q, k, v, o, p }, attributes) => {
      const heads = attributes as unknown as Heads;
      const [D, Q, K, V] = [dy!, q!, k!, v!].map(x => splitHeads(x, heads)) as [Tensor, Tensor, Tensor, Tensor];
      const scale = 1 / Math.sqrt(Q.shape[2]!);
      const delta = tf.sum(splitHeads(tf.mul(dy!, o!), heads), -1, true);
      const ds = tf.mul(tf.mul(p!, tf.sub(tf.matMul(D, V, false, true), delta)), scale);
      return [
        joinHeads(tf.matMul(ds, K), q!.shape),
        joinHeads(tf.matMul(ds, Q, true, false), k!.shape),
        joinHeads(tf.matMul(p!, D, true, false), v!.shape),
      ];
    },
  },
  /** x where the mask (bool, broadcast against x) is 1, times `scale`; 0 elsewhere. */
  ApplyMask: {
    compose: ({ x, mask }, { scale }) => [tf.mul(x!, tf.mul(tf.cast(mask!, 'float32'), scale!))],
  },
  /** x (any shape) plus values [k] at the elements that indices [k] name, row-major: whole numbers, all different. */
  AddAtIndices: {
    compose: ({ x, indices, values }) => {
      const positions = tf.expandDims(tf.cast(indices!, 'int32'), 1);
      return [tf.add(x!, tf.reshape(tf.scatterND(positions, values!, [x!.size]), x!.shape))];
    },
  },
  /** The elements of x (any shape) that indices [k] name, row-major -> [k]. */
  TakeAtIndices: {
    compose: ({ x, indices }) => [tf.gather(tf.reshape(x!, [x!.size]), tf.cast(indices!, 'int32') as tf.Tensor1D)],
  },
  /** All of a where the condition (bool, []) holds, else all of b; what is not chosen may be infinite or NaN. */
  Choose: {
    compose: ({ condition, a, b }) => [tf.where(condition!, a!, b!)],
  },
} satisfies Record<string, FusedKernel>;

export type FusedKernelName = keyof typeof fusedKernels;

/** Runs a fused kernel on the current backend. */
export function runFused(name: FusedKernelName, inputs: Record<string, Tensor>, attributes: Record<string, number> = {}): Tensor[] {
  return tf.engine().runKernel(name, inputs as NamedTensorMap, attributes as NamedAttrMap) as unknown as Tensor[];
}

/** Gives an eager backend the composed form of every fused kernel. */
export function registerComposedKernels(backendName: string): void {
  for (const [kernelName, { compose }] of Object.entries(fusedKernels) as [string, FusedKernel][]) {
    tf.registerKernel({
      kernelName, backendName,
      kernelFunc: ({ inputs, attrs }) => tf.tidy(() => compose(asTensors(inputs), attrs as Record<string, number>)),
    });
  }
}

/** Inside a kernel, inputs are tensors already; the cast says so to the compiler. */
function asTensors(inputs: object): Record<string, Tensor> {
  return inputs as Record<string, Tensor>;
}

function normalCdf(x: Tensor): Tensor {
  return tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5);
}

interface Heads { batch: number; heads: number }

/** [tokens * batch, width] -> [batch * heads, tokens, width / heads]. */
function splitHeads(x: Tensor, { batch, heads }: Heads): Tensor {
  const [rows, width] = x.shape as [number, number];
  return tf.transpose(tf.reshape(x, [rows / batch, batch * heads, width / heads]), [1, 0, 2]);
}

/** The inverse of splitHeads. */
function joinHeads(x: Tensor, shape: number[]): Tensor {
  return tf.reshape(tf.transpose(x, [1, 0, 2]), shape);
}
