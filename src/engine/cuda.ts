/**
 * ONNX Runtime's CUDA provider, which `peft-lab runtime install cuda` fetches with the copy of onnxruntime-node that can
 * load it. The library is driven by the addon of the kernels, and everything stays on the device as on WebGPU; where that
 * addon is missing, by the package, which holds outputs on a WebGPU device only: then the new state comes to the host after
 * each step and goes back with the next, and frozen weights are part of the model. Not run on hardware yet: the choice and the
 * refusals are tested, and with the processor as the device the addon and the graph.
 */
import { createRequire } from 'node:module';
import { UserError } from '../common/errors';
import { findRuntime, runtimeModulePath, type Runtime } from '../common/runtimes';
import { openOnProvider, type GpuProvider, type GpuRuntime } from './graph-gpu';
import { loadNvidiaLibraries } from './nvidia-libraries';
import { openDevice } from './onnx/device';
import { standardDialect } from './onnx/write';
import type { Precision, Program, Session, SessionOptions } from './program';

export async function openCuda(options: SessionOptions): Promise<Session> {
  const runtime = findRuntime('cuda');
  if (!runtime) {
    throw new UserError({
      what: 'ONNX Runtime\'s CUDA provider is not installed', where: 'engine graph-cuda',
      remedy: 'Run `peft-lab runtime install cuda` on a machine with an NVIDIA GPU, or use another engine.',
    });
  }
  chooseProducts(options.precision ?? 'f32');
  const { gpu, reasons } = await firstThatWorks(runtime);
  const session = await openOnProvider(gpu, options);
  return { ...session, execution: () => ({ how: gpu.stateLocation === 'cpu' ? 'on the GPU, with its state brought to the host after each step' : 'on the GPU', reasons }) };
}

let allowsTf32: boolean | undefined;

/**
 * The package passes the provider no options, and by itself it multiplies f32 in TF32. NVIDIA's libraries look at this
 * variable when they are first used: once for a process.
 */
function chooseProducts(precision: Precision): void {
  const wanted = precision === 'tf32';
  if (allowsTf32 !== undefined && allowsTf32 !== wanted) throw new Error('this process has used CUDA with another precision already');
  allowsTf32 = wanted;
  if (wanted) delete process.env['NVIDIA_TF32_OVERRIDE'];
  else process.env['NVIDIA_TF32_OVERRIDE'] = '0';
}

interface Working {
  gpu: GpuProvider;
  /** Why it is not a better way. */
  reasons: string[];
}

/** By the addon, else by the package. */
async function firstThatWorks(runtime: Runtime): Promise<Working> {
  loadNvidiaLibraries(runtime);
  const folder = runtimeModulePath(runtime);
  const ways: (() => Pick<GpuProvider, 'ort' | 'stateLocation'>)[] = [
    () => ({ ort: openDevice({ folder, cuda: { device_id: '0', use_tf32: allowsTf32 ? '1' : '0' } }), stateLocation: 'gpu-buffer' }),
    () => ({ ort: createRequire(folder)(folder) as GpuRuntime, stateLocation: 'cpu' }),
  ];
  const failures: unknown[] = [];
  for (const way of ways) {
    try {
      const gpu: GpuProvider = { id: 'graph-cuda', provider: { name: 'cuda', deviceId: 0 }, dialect: standardDialect, ...way() };
      await tryOut(gpu);
      return { gpu, reasons: failures.map(wordsOf) };
    } catch (error) {
      failures.push(error);
    }
  }
  throw doesNotStart(runtime, failures.at(-1));
}

/** The provider is loaded with the first session, which is where a missing driver or device shows. */
async function tryOut(gpu: GpuProvider): Promise<void> {
  const { tf } = await import('./tfjs');
  const shape = [4, 4], values = (value: number) => ({ shape, data: new Float32Array(16).fill(value) });
  const add: Program = {
    feeds: [{ name: 'x', shape, dtype: 'float32' }],
    run: ({ x, sum }) => ({ fetches: { product: tf.matMul(x!, x!) }, state: { sum: tf.add(sum!, tf.matMul(x!, x!)) } }),
  };
  const session = await openOnProvider(gpu, { programs: { add }, state: { sum: values(0) }, constants: {}, threads: 1 });
  const { product } = await session.call('add', { x: values(1) });
  await session.call('add', { x: values(1) });
  const { sum } = await session.readState();
  await session.dispose();
  if (product!.data[0] !== 4 || sum!.data[0] !== 8) throw new Error(`4 and 8 came out as ${String(product!.data[0])} and ${String(sum!.data[0])}`);
}

function doesNotStart(runtime: Runtime, cause: unknown): UserError {
  return new UserError({
    what: `CUDA does not start: ${wordsOf(cause).slice(0, 300)}`, where: `engine graph-cuda, ${runtime.folder}`,
    remedy: 'See that `nvidia-smi` shows a GPU and a driver of version 580 or newer, or use another engine.', cause,
  });
}

/** ONNX Runtime's errors name the place in its sources first, at length. */
function wordsOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return /CUDA failure \d+: [^;\n]+/.exec(message)?.[0].trim() ?? message.trim().split('\n').at(-1)!;
}
