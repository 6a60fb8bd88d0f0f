/**
 * The addon with the project's own kernels. It is native code: only processes that may die load it (the worker, the probe).
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { UserError } from '../../common/errors';

/** Memory outside JavaScript that instructions can name. */
export type NamedMemory = object & { readonly memory: unique symbol };
/** Threads that wait for work. */
export type Pool = object & { readonly pool: unique symbol };
export type Buffer = Float32Array | Uint8Array | NamedMemory;

/** See kernels/addon.c. */
export interface KernelsBinding {
  /** What the kernels run with here, such as `avx2`; empty where the processor has nothing that they were compiled for. */
  instructionSet: string;
  openPool(threads: number): Pool;
  allocate(bytes: number): NamedMemory;
  release(memory: NamedMemory): void;
  /** Resolves to `done`, or to what went wrong. One run at a time on a pool. */
  run(pool: Pool, spinning: number, words: Float64Array, buffers: readonly Buffer[]): Promise<string>;
}

let loaded: KernelsBinding | undefined;

/** Loads it at the first call. Throws a UserError when it is not there, does not load, or has nothing for this processor. */
export function loadKernels(): KernelsBinding {
  return (loaded ??= load(kernelsFile()));
}

function load(file: string): KernelsBinding {
  let binding: KernelsBinding;
  try {
    binding = createRequire(file)(file) as KernelsBinding;
  } catch (cause) {
    throw new UserError({
      what: `the kernels do not load: ${cause instanceof Error ? cause.message.split('\n')[0] : String(cause)}`, where: file,
      remedy: 'Run `peft-lab runtime install kernels`, which compiles them on this machine, or use the engine "graph".', cause,
    });
  }
  if (binding.instructionSet) return binding;
  throw new UserError({
    what: 'this processor has neither AVX2 with FMA nor AVX-512, one of which the kernels need', where: 'engine native', remedy: 'Use the engine "graph".',
  });
}

function kernelsFile(): string {
  const candidates = [process.env['PEFT_LAB_KERNELS'], ...['.', '..'].map(up => path.resolve(__dirname, up, 'native/peft-lab-kernels.node')), path.resolve('dist/native/peft-lab-kernels.node')];
  const found = candidates.find(file => file && fs.existsSync(file));
  if (found) return found;
  throw new UserError({
    what: 'the kernels are not compiled', where: 'engine native',
    remedy: 'Run `peft-lab runtime install kernels`, or use the engine "graph".',
  });
}
