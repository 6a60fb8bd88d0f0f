/** tfjs-node's backend in our copy of tfjs: programs run operation by operation, each a call of the binding. */
import util from 'node:util';
import type { TFJSBinding } from '@tensorflow/tfjs-node-gpu/dist/tfjs_binding';
import { tf } from '../tfjs';

let registered: Promise<void> | undefined;

/** Registers the backend 'tensorflow' and its kernels. */
export function registerTensorflowBackend(binding: TFJSBinding): Promise<void> {
  return (registered ??= register(binding));
}

async function register(binding: TFJSBinding): Promise<void> {
  restoreRemovedUtilities();
  const { NodeJSKernelBackend } = await import('@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend');
  await import('@tensorflow/tfjs-node-gpu/dist/register_all_kernels');
  tf.registerBackend('tensorflow', () => new NodeJSKernelBackend(binding, '@tensorflow/tfjs-node-gpu'), 0);
}

/** tfjs-node 4.22 calls two functions that Node.js 23 took away. */
function restoreRemovedUtilities(): void {
  const utilities = util as unknown as Record<string, unknown>;
  utilities['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined;
  utilities['isArray'] ??= Array.isArray;
}
