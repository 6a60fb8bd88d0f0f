/**
 * ONNX Runtime's CUDA provider, which `peft-lab runtime install cuda` fetches with the copy of onnxruntime-node that can
 * load it. What holds on WebGPU holds here, but for one thing: the Node.js binding can hold outputs on a WebGPU device
 * only, so that the new state comes to the host after each step and goes back with the next; frozen weights are part of
 * the model and stay. Not run on hardware yet: the choice and the refusals are tested, and the graph with the operators
 * that this provider shares with the processor's.
 */
import { createRequire } from 'node:module';
import { UserError } from '../common/errors';
import { findRuntime, runtimeModulePath, type Runtime } from '../common/runtimes';
import { openOnProvider, type GpuProvider, type Ort } from './graph-gpu';
import { loadNvidiaLibraries } from './nvidia-libraries';
import { standardDialect } from './onnx/write';
import type { Precision, Session, SessionOptions } from './program';

export async function openCuda(options: SessionOptions): Promise<Session> {
  const runtime = findRuntime('cuda');
  if (!runtime) {
    throw new UserError({
      what: 'ONNX Runtime\'s CUDA provider is not installed', where: 'engine graph-cuda',
      remedy: 'Run `peft-lab runtime install cuda` on a machine with an NVIDIA GPU, or use another engine.',
    });
  }
  chooseProducts(options.precision ?? 'f32');
  const gpu: GpuProvider = { id: 'graph-cuda', ort: load(runtime), provider: { name: 'cuda', deviceId: 0 }, dialect: standardDialect, stateLocation: 'cpu' };
  await tryOut(gpu, runtime);
  return openOnProvider(gpu, options);
}

let allowsTf32: boolean | undefined;

/**
 * The binding passes the provider no options, and by itself it multiplies f32 in TF32. NVIDIA's libraries look at this
 * variable when they are first used: once for a process.
 */
function chooseProducts(precision: Precision): void {
  const wanted = precision === 'tf32';
  if (allowsTf32 !== undefined && allowsTf32 !== wanted) throw new Error('this process has used CUDA with another precision already');
  allowsTf32 = wanted;
  if (wanted) delete process.env['NVIDIA_TF32_OVERRIDE'];
  else process.env['NVIDIA_TF32_OVERRIDE'] = '0';
}

function load(runtime: Runtime): Ort {
  loadNvidiaLibraries(runtime);
  const module = runtimeModulePath(runtime);
  try {
    return createRequire(module)(module) as Ort;
  } catch (cause) {
    throw doesNotStart(runtime, cause);
  }
}

/** The provider is loaded with the first session, which is where a missing driver or device shows. */
async function tryOut(gpu: GpuProvider, runtime: Runtime): Promise<void> {
  const { tf } = await import('./tfjs');
  const shape = [4, 4];
  const square = { feeds: [{ name: 'x', shape, dtype: 'float32' as const }], run: ({ x }: Record<string, InstanceType<typeof tf.Tensor>>) => ({ fetches: { y: tf.matMul(x as never, x as never) }, state: {} }) };
  try {
    const session = await openOnProvider(gpu, { programs: { square }, state: {}, constants: {}, threads: 1 });
    const { y } = await session.call('square', { x: { shape, data: new Float32Array(16).fill(1) } });
    if (y!.data[0] !== 4) throw new Error(`a product that is 4 came out as ${String(y!.data[0])}`);
    await session.dispose();
  } catch (cause) {
    throw doesNotStart(runtime, cause);
  }
}

function doesNotStart(runtime: Runtime, cause: unknown): UserError {
  const message = cause instanceof Error ? cause.message.trim().split('\n').at(-1)! : String(cause);
  return new UserError({
    what: `CUDA does not start: ${message.slice(0, 300)}`, where: `engine graph-cuda, ${runtime.folder}`,
    remedy: 'See that `nvidia-smi` shows a GPU and a driver of version 580 or newer, or use another engine.', cause,
  });
}
