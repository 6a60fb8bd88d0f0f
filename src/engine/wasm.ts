/**
 * The wasm backend of tfjs, made fit for training: its matrix products use the fast routine only when neither side is
 * transposed, and every gradient of a product has a transposed side. Transposing first makes a step five times faster.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { KernelConfig, NamedAttrMap, TensorInfo } from '@tensorflow/tfjs-core';
import { UserError } from '../common/errors';
import { tf } from './tfjs';

let registered: Promise<void> | undefined;

export function registerWasm(): Promise<void> {
  return (registered ??= register());
}

async function register(): Promise<void> {
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(binaryFolder() + path.sep);
  transposeBeforeMultiplying();
}

/** dist/ beside the running bundle, or the repository's when a test runs. */
function binaryFolder(): string {
  const candidates = [__dirname, path.resolve(__dirname, '..'), path.resolve('dist')];
  const folder = candidates.find(f => fs.existsSync(path.join(f, 'tfjs-backend-wasm-simd.wasm')));
  if (!folder) throw new UserError({ what: 'the wasm engine\'s binary is missing', where: candidates[0], remedy: 'Run `npm run build`.' });
  return folder;
}

interface MatMulArguments {
  inputs: { a: TensorInfo; b: TensorInfo };
  backend: { disposeData(id: object): boolean };
  attrs: { transposeA: boolean; transposeB: boolean };
}
type Kernel = (args: { inputs: object; backend: object; attrs: object }) => TensorInfo;

function transposeBeforeMultiplying(): void {
  const transpose = tf.getKernel('Transpose', 'wasm')!.kernelFunc as unknown as Kernel;
  const stock = tf.getKernel('BatchMatMul', 'wasm')!;
  const multiply = stock.kernelFunc as unknown as Kernel;
  tf.unregisterKernel('BatchMatMul', 'wasm');
  const kernelFunc = ({ inputs: { a, b }, backend, attrs }: MatMulArguments): TensorInfo => {
    const temporary: TensorInfo[] = [];
    const flip = (x: TensorInfo) => {
      const perm = x.shape.map((_, i) => i);
      perm.push(...perm.splice(-2).reverse());
      temporary.push(transpose({ inputs: { x }, backend, attrs: { perm } as NamedAttrMap }));
      return temporary.at(-1)!;
    };
    const inputs = { a: attrs.transposeA ? flip(a) : a, b: attrs.transposeB ? flip(b) : b };
    const out = multiply({ inputs, backend, attrs: { transposeA: false, transposeB: false } });
    for (const info of temporary) backend.disposeData(info.dataId);
    return out;
  };
  tf.registerKernel({ ...stock, kernelFunc: kernelFunc as unknown as KernelConfig['kernelFunc'] });
}
