/**
 * Runtimes that are installed after the fact (`peft-lab runtime install`): where they lie, what is there, and the
 * environment that a process must be started with so that it can load them. A runtime is a folder with a runtime.json;
 * it gets its name when it is whole.
 */
import fs from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { dataFolder } from './paths';

export const runtimeKinds = ['tensorflow', 'cuda', 'kernels'] as const;
export type RuntimeKind = typeof runtimeKinds[number];

const checkSchema = z.strictObject({
  /** Whether it loaded and computed, in a process of its own. */
  works: z.boolean(),
  /** What it found, or why it does not load, in words. */
  says: z.string(),
  /** Devices by name, as the runtime lists them. */
  devices: z.array(z.string()),
  checked: z.iso.datetime(),
});
export type RuntimeCheck = z.infer<typeof checkSchema>;

/** runtime.json. Paths are relative to the runtime's folder, with forward slashes. */
export const runtimeSchema = z.object({
  format: z.literal(1),
  kind: z.enum(runtimeKinds),
  /** Of TensorFlow, of ONNX Runtime, or of PEFT Lab with the kernels' sources. */
  version: z.string(),
  platform: z.string(),
  arch: z.string(),
  /** Carries the libraries of CUDA. */
  gpu: z.boolean(),
  installed: z.iso.datetime(),
  /** On disk. */
  bytes: z.int(),
  /** What an engine loads: TensorFlow's binding (lib/tfjs_binding.node), a copy of the package onnxruntime-node, or the kernels' addon. */
  module: z.string(),
  /** Folders with shared libraries, in the order in which they are searched. */
  libraries: z.array(z.string()),
  /** What XLA calls xla_gpu_cuda_data_dir: the folder with bin/ptxas and nvvm; null without one. */
  cudaData: z.string().nullable(),
  packages: z.array(z.object({ name: z.string(), version: z.string(), sha256: z.string() })),
  check: checkSchema.nullable(),
});
export type RuntimeManifest = z.infer<typeof runtimeSchema>;

export interface Runtime extends RuntimeManifest {
  /** Absolute. */
  folder: string;
}

export interface RuntimeSearch {
  platform?: NodeJS.Platform;
  arch?: string;
  environment?: NodeJS.ProcessEnv;
}

export const manifestName = 'runtime.json';

/** Where runtimes are installed: `runtimes` in the data folder, which is the extension's own storage in an editor. */
export function runtimesFolder(environment: NodeJS.ProcessEnv = process.env): string {
  return path.join(dataFolder({ environment }), 'runtimes');
}

/** Every runtime of this machine's platform: the data folder's first, then those that a terminal installed. */
export function installedRuntimes({ platform = process.platform, arch = process.arch, environment = process.env }: RuntimeSearch = {}): Runtime[] {
  return dataFoldersOfRuntimes(environment).flatMap(list).filter(runtime => runtime.platform === platform && runtime.arch === arch);
}

/** Every folder that may hold runtimes. */
export function dataFoldersOfRuntimes(environment: NodeJS.ProcessEnv = process.env): string[] {
  const shared = path.join(dataFolder({ environment: { ...environment, PEFT_LAB_DATA: undefined } }), 'runtimes');
  return [...new Set([runtimesFolder(environment), shared])];
}

export interface RuntimeWish extends RuntimeSearch {
  /** This one and no other: what was made for another version of PEFT Lab does not fit. */
  version?: string | undefined;
}

/** The one to use: a GPU's before a CPU's, the newest version of it; null where none is installed. */
export function findRuntime(kind: RuntimeKind, { version, ...search }: RuntimeWish = {}): Runtime | null {
  const newestFirst = (a: Runtime, b: Runtime) => Number(b.gpu) - Number(a.gpu) || compareVersions(b.version, a.version);
  const fitting = installedRuntimes(search).filter(runtime => runtime.kind === kind && (version === undefined || runtime.version === version));
  return fitting.sort(newestFirst)[0] ?? null;
}

/** Absolute path of the module that an engine loads. */
export function runtimeModulePath(runtime: Runtime): string {
  return path.join(runtime.folder, runtime.module);
}

export interface RuntimeEnvironmentOptions {
  /** What the process would be started with otherwise; the result holds only what differs. */
  environment?: NodeJS.ProcessEnv;
  platform?: NodeJS.Platform;
}

/**
 * What must be set before a process starts that loads this runtime. The loader reads the library path at start only.
 * What the user has set is kept, but for the library path, in which ours come first: another CUDA there would not match.
 */
export function runtimeEnvironment(runtime: Runtime, { environment = process.env, platform = process.platform }: RuntimeEnvironmentOptions = {}): Record<string, string> {
  const added: Record<string, string> = {};
  const name = libraryPathName(platform, environment);
  const own = runtime.libraries.map(folder => path.join(runtime.folder, folder));
  if (own.length > 0) added[name] = prepend(own, environment[name], platform);
  if (runtime.kind === 'tensorflow') Object.assign(added, tensorflowEnvironment(runtime, environment));
  return added;
}

/**
 * The environment for a process that may load any engine: the worker, the probe. Two runtimes may bring libraries of one
 * name for two versions of CUDA (libcudnn.so.9); then neither is on the library path: TensorFlow's find theirs by the
 * paths that they carry, and those of ONNX Runtime are loaded by path (engine/nvidia-libraries.ts).
 */
export function engineEnvironment(search: RuntimeSearch = {}): NodeJS.ProcessEnv {
  const { environment = process.env, platform = process.platform } = search;
  const runtimes = runtimeKinds.flatMap(kind => findRuntime(kind, search) ?? []);
  const inConflict = runtimes.filter(runtime => runtime.gpu).length > 1;
  return runtimes.toReversed().reduce<NodeJS.ProcessEnv>((sum, runtime) => {
    const libraries = inConflict ? [] : runtime.libraries;
    return { ...sum, ...runtimeEnvironment({ ...runtime, libraries }, { environment: sum, platform }) };
  }, platform === 'linux' ? withLargePages(environment) : environment);
}

/** Memory in pages of 2 MiB, where the system gives them to who asks: a step on a processor takes 3 to 7 % less time (bench/results). */
function withLargePages(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { GLIBC_TUNABLES: tunables = '' } = environment;
  return tunables.includes('malloc.hugetlb') ? environment : { ...environment, GLIBC_TUNABLES: [tunables, 'glibc.malloc.hugetlb=1'].filter(Boolean).join(':') };
}

function tensorflowEnvironment(runtime: Runtime, environment: NodeJS.ProcessEnv): Record<string, string> {
  const wanted: Record<string, string> = {};
  if (runtime.gpu) {
    // Otherwise TensorFlow takes the whole device at start, and keeps freed memory in pieces.
    wanted['TF_FORCE_GPU_ALLOW_GROWTH'] = 'true';
    wanted['TF_GPU_ALLOCATOR'] = 'cuda_malloc_async';
  }
  const missing = Object.fromEntries(Object.entries(wanted).filter(([name]) => environment[name] === undefined));
  const flags = environment['XLA_FLAGS'] ?? '';
  if (!runtime.cudaData || flags.includes('xla_gpu_cuda_data_dir')) return missing;
  return { ...missing, XLA_FLAGS: `${flags} --xla_gpu_cuda_data_dir=${path.join(runtime.folder, runtime.cudaData)}`.trim() };
}

/** Compares dotted numbers: 2.9.1 is before 2.21.0. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map(version => version.split(/[.+-]/).map(part => Number.parseInt(part, 10) || 0)) as [number[], number[]];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Windows' variables differ in case from process to process; the one that is there is meant. */
function libraryPathName(platform: NodeJS.Platform, environment: NodeJS.ProcessEnv): string {
  if (platform === 'win32') return Object.keys(environment).find(name => name.toLowerCase() === 'path') ?? 'Path';
  return platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH';
}

function prepend(folders: string[], value: string | undefined, platform: NodeJS.Platform): string {
  const separator = platform === 'win32' ? ';' : ':';
  const rest = (value ?? '').split(separator).filter(folder => folder && !folders.includes(folder));
  return [...folders, ...rest].join(separator);
}

function list(folder: string): Runtime[] {
  let names: string[];
  try {
    names = fs.readdirSync(folder);
  } catch {
    return []; // nothing was installed yet
  }
  // What begins with a dot is being installed.
  return names.filter(name => !name.startsWith('.')).sort().flatMap(name => readRuntime(path.join(folder, name)) ?? []);
}

/** Null where the folder holds no runtime, or one of another version of PEFT Lab. */
export function readRuntime(folder: string): Runtime | null {
  try {
    const parsed = runtimeSchema.safeParse(JSON.parse(fs.readFileSync(path.join(folder, manifestName), 'utf8')));
    return parsed.success ? { ...parsed.data, folder } : null;
  } catch {
    return null;
  }
}
