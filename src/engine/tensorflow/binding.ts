/**
 * The native binding of @tensorflow/tfjs-node, built against a current TensorFlow and installed by `peft-lab runtime
 * install tensorflow`. It is native code: only processes that may die load it (the worker, the probe).
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import type { TFJSBinding } from '@tensorflow/tfjs-node-gpu/dist/tfjs_binding';
import { pruneFolder } from '../../common/bounded-folder';
import { UserError } from '../../common/errors';
import { cacheFolder } from '../../common/paths';
import type { Runtime } from '../../common/runtimes';
import { findRuntime, runtimeModulePath } from '../../common/runtimes';
import type { Precision } from '../program';

export interface BindingOptions {
  threads: number;
  precision: Precision;
}

export interface LoadedBinding {
  binding: TFJSBinding;
  runtime: Runtime;
}

/** A study of many methods and shapes compiles some 100 MB; XLA itself removes nothing. */
const largestCompileCache = (Number(process.env['PEFT_LAB_XLA_CACHE_GB']) || 2) * 1e9;

let loaded: LoadedBinding & { settings: string } | undefined;

/**
 * Loads it at the first call. TensorFlow takes threads and number format once for a process: another call with other
 * ones is refused where the difference would count. Throws a UserError when no runtime is installed or it does not load.
 */
export function loadBinding(options: BindingOptions): LoadedBinding {
  const runtime = findRuntime('tensorflow');
  if (!runtime) {
    throw new UserError({
      what: 'TensorFlow is not installed', where: 'engine tensorflow',
      remedy: 'Run `peft-lab runtime install tensorflow` (with --gpu for an NVIDIA GPU), or use another engine.',
    });
  }
  const settings = runtime.gpu ? String(options.precision === 'f32') : '';
  if (loaded && loaded.settings !== settings) throw new Error('this process has loaded TensorFlow for another precision already');
  return (loaded ??= { ...load(runtime, options), settings });
}

/** Whether TensorFlow computes on an NVIDIA GPU here; before it is loaded, whether its runtime is made for one. */
export function usesGpu(): boolean {
  return loaded ? loaded.binding.isUsingGpuDevice() : findRuntime('tensorflow')?.gpu ?? false;
}

function load(runtime: Runtime, options: BindingOptions): LoadedBinding {
  prepareEnvironment(runtime, options);
  const file = bindingFile(runtime);
  try {
    return { binding: createRequire(file)(file) as TFJSBinding, runtime };
  } catch (cause) {
    throw new UserError({
      what: `TensorFlow ${runtime.version} does not load: ${cause instanceof Error ? cause.message.split('\n')[0] : String(cause)}`, where: runtime.folder,
      remedy: 'Run `peft-lab runtime remove tensorflow` and install it again, or use another engine.', cause,
    });
  }
}

/** The module of a runtime is the binding itself, or the package that holds it. */
function bindingFile(runtime: Runtime): string {
  const module = runtimeModulePath(runtime);
  const candidates = module.endsWith('.node') ? [module] : [path.join(module, 'lib/napi-v8/tfjs_binding.node')];
  return candidates.find(file => fs.existsSync(file)) ?? candidates[0]!;
}

/**
 * The binding passes TensorFlow no configuration, which then reads the environment when it is loaded. What the dynamic
 * linker must know was set when this process was started (common/runtimes.ts).
 */
function prepareEnvironment(runtime: Runtime, { threads, precision }: BindingOptions): void {
  const own: Record<string, string> = { TF_NUM_INTRAOP_THREADS: String(threads), TF_NUM_INTEROP_THREADS: String(threads), TF_CPP_MIN_LOG_LEVEL: logLevel(runtime) };
  // Matrix products on the tensor cores round their operands to tf32 unless this forbids it.
  if (runtime.gpu && precision === 'f32') own['NVIDIA_TF32_OVERRIDE'] = '0';
  for (const [name, value] of Object.entries(own)) process.env[name] ??= value;
  // XLA's own kernels for products do not look at that variable.
  if (runtime.gpu && precision === 'f32') addFlag('XLA_FLAGS', '--xla_gpu_enable_triton_gemm', 'false');
  const cache = compileCache(runtime);
  if (!cache) return;
  addFlag('TF_XLA_FLAGS', '--tf_xla_persistent_cache_directory', cache);
  void pruneFolder({ root: compileCaches(), isCached: isCompiled, maxBytes: largestCompileCache });
}

/** On the CPU, XLA complains of every program that it finds in its cache; on a GPU, its complaints say what is missing. */
function logLevel({ gpu }: Runtime): string {
  return gpu ? '1' : '3';
}

/** Leaves a flag that the user has set alone. */
function addFlag(variable: string, flag: string, value: string): void {
  const flags = process.env[variable] ?? '';
  if (!flags.includes(flag)) process.env[variable] = `${flags} ${flag}=${value}`.trim();
}

/** Of every version and processor. */
function compileCaches(): string {
  return path.join(cacheFolder(), 'xla');
}

function isCompiled(name: string): boolean {
  return path.basename(name).startsWith('xla_compile_cache');
}

/** Where XLA keeps what it compiled, for this kind of processor: machines may share the folder. Null when the folder cannot be made, which costs time and nothing else. */
function compileCache({ version, gpu }: Runtime): string | null {
  const processor = createHash('sha256').update(`${os.cpus()[0]?.model} ${process.arch}`).digest('hex').slice(0, 8);
  const folder = path.join(compileCaches(), `${version}${gpu ? '-gpu' : ''}-${processor}`);
  if (/\s/.test(folder)) return null; // flags are split at blanks
  try {
    fs.mkdirSync(folder, { recursive: true });
    return folder;
  } catch {
    return null;
  }
}
