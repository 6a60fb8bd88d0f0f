/**
 * tfjs as every engine needs it: with the gradients that the package's node entry leaves out, and without its advice
 * to install another package. Import this before using tfjs operations.
 */
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import * as tf from '@tensorflow/tfjs-core';

tf.enableProdMode();

export { tf };
