/**
 * The addon with the project's own kernels. It is native code: only processes that may die load it (the worker, the probe).
 */
import { createRequire } from 'node:module';
import { UserError } from '../../common/errors';
import { findRuntime, runtimeModulePath } from '../../common/runtimes';
import type { OnnxBinding } from '../onnx/device';
import { builtKernels, kernelsVersion } from './sources';

/** Memory outside JavaScript that instructions can name. */
export type NamedMemory = object & { readonly memory: unique symbol };
/** Threads that wait for work. */
export type Pool = object & { readonly pool: unique symbol };
export type Buffer = Float32Array | Uint8Array | NamedMemory;

/** See kernels/addon.c. */
export interface KernelsBinding extends OnnxBinding {
  /** What the kernels run with here, such as `avx2`; empty where the processor has nothing that they were compiled for. */
  instructionSet: string;
  openPool(threads: number): Pool;
  allocate(bytes: number): NamedMemory;
  release(memory: NamedMemory): void;
  /** Gives an array's memory back at once; the array is empty from then on, and so is every view of its buffer. */
  detach(array: Float32Array | Uint8Array): void;
  /** Resolves to `done`, or to what went wrong. One run at a time on a pool. */
  run(pool: Pool, spinning: number, words: Float64Array, buffers: readonly Buffer[]): Promise<string>;
}

let loaded: KernelsBinding | undefined;

/** Loads the addon at the first call. Throws a UserError when there is none, or none loads. */
export function loadAddon(): KernelsBinding {
  return (loaded ??= firstThatLoads());
}

/** The same, and a UserError too when it has no kernels for this processor. */
export function loadKernels(): KernelsBinding {
  return usable(loadAddon());
}

/** PEFT_LAB_KERNELS alone where it is set; else what was built with PEFT Lab, then what was compiled on this machine. */
function places(): (() => string | null)[] {
  const given = process.env['PEFT_LAB_KERNELS'];
  return given ? [() => given] : [builtKernels, installedKernels];
}

/** From the same sources, or they would not know each other's instructions. */
function installedKernels(): string | null {
  const runtime = findRuntime('kernels', { version: kernelsVersion() });
  return runtime && runtimeModulePath(runtime);
}

/** One that was built elsewhere may need a newer system than this. */
function firstThatLoads(): KernelsBinding {
  const failures: string[] = [];
  for (const find of places()) {
    const file = find();
    if (file === null) continue;
    try {
      return createRequire(file)(file) as KernelsBinding;
    } catch (error) {
      failures.push(error instanceof Error ? error.message.split('\n')[0]! : String(error));
    }
  }
  throw new UserError({
    what: failures.length ? `the kernels do not load: ${failures.join('; ')}` : 'the kernels are not compiled', where: 'engine native',
    remedy: 'Run `peft-lab runtime install kernels`, which compiles them on this machine, or use the engine "graph".',
  });
}

function usable(binding: KernelsBinding): KernelsBinding {
  if (binding.instructionSet) return binding;
  throw new UserError({
    what: 'this processor has neither AVX2 with FMA nor AVX-512, one of which the kernels need', where: 'engine native', remedy: 'Use the engine "graph".',
  });
}
