/**
 * What @tensorflow/tfjs-node imports as @tensorflow/tfjs (an alias in esbuild.mjs): our copy of tfjs-core, which is all that
 * its backend and kernels need. Its classes are compiled to functions, and such a class can extend only another one.
 */
import * as tf from '@tensorflow/tfjs-core';

export * from '@tensorflow/tfjs-core';

/** tfjs's base class of backends, whose constructor does nothing, in a form that may be called without `new`. */
export const KernelBackend = function () { /* nothing to set up */ };
KernelBackend.prototype = tf.KernelBackend.prototype;
