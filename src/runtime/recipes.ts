/** What each kind of runtime is made of: wheels, what is taken from them, and what is done with it. */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { UserError } from '../common/errors';
import type { RuntimeKind } from '../common/runtimes';
import { kernelsFile, kernelSources, kernelsVersion, kernelVariants } from '../engine/native/sources';
import { bindingPath, makeBinding, requireCompiler } from './binding';
import { compileKernels } from './compile-kernels';
import { describePlatform, findCCompiler, nvidiaDriver, type Driver, type Platform } from './platform';
import type { Compiler } from './run-compiler';

export interface Recipe {
  kind: RuntimeKind;
  version: string;
  gpu: boolean;
  /** The package whose wheel is fetched, and the extras of it that bring CUDA; null where nothing is fetched. */
  wheels: { name: string; version: string; extras: readonly string[] } | null;
  /** Whether wheels are part of the runtime. Otherwise they build its module, and are removed again. */
  keepsWheels: boolean;
  /** What engines load; relative to the runtime's folder. */
  module: string;
  /** Which entries of the wheels are unpacked, into `site`. */
  keep(entry: string): boolean;
  /** Says as a UserError what is missing on this machine, before anything is fetched. */
  require(): Promise<void>;
  /** What the user should know beforehand, in sentences. */
  remarks(): Promise<string[]>;
  /** Makes the module out of what was unpacked; `fresh`: without what was built before, which did not work. */
  finish(options: { folder: string; fresh?: boolean; signal?: AbortSignal | undefined }): Promise<void>;
}

export interface RecipeOptions {
  kind: RuntimeKind;
  gpu: boolean;
  /** The one that was verified when absent. */
  version?: string | undefined;
  machine: Platform;
}

/** The TensorFlow that this version of PEFT Lab was tested with. */
export const verifiedTensorFlow = '2.21.0';

/** A UserError where there is no such runtime for this machine. */
export async function findRecipe({ kind, gpu, version, machine }: RecipeOptions): Promise<Recipe> {
  switch (kind) {
    case 'tensorflow': return tensorflowRecipe({ gpu, version: version ?? verifiedTensorFlow, machine });
    case 'cuda': return cudaRecipe({ version, machine });
    case 'kernels': return kernelsRecipe({ gpu, version, machine });
    default: return kind satisfies never;
  }
}

/** Shared libraries of NVIDIA's wheels, and of its compiler what XLA calls. */
const nvidiaFiles = /^nvidia\/(.+\/lib\/[^/]+\.so(\.\d+)*|cuda_nvcc\/bin\/(ptxas|nvlink|fatbinary)|cuda_nvcc\/nvvm\/libdevice\/.+)$/;
const licenses = /^[^/]+\.dist-info\/(licen[sc]es\/.+|LICEN[SC]E[^/]*|License[^/]*|NOTICE[^/]*)$/;

function tensorflowRecipe({ gpu, version, machine }: { gpu: boolean; version: string; machine: Platform }): Recipe {
  const { platform, arch } = machine;
  if (platform !== 'linux' && platform !== 'darwin') {
    throw new UserError({
      what: `TensorFlow's C library is not in its wheels for ${describePlatform(machine)}`, where: 'runtime install tensorflow',
      remedy: 'Use WSL 2, or the engines graph and graph-webgpu, which need no installation here.',
    });
  }
  if (gpu && !(platform === 'linux' && arch === 'x64')) {
    throw new UserError({ what: `there is no TensorFlow with CUDA for ${describePlatform(machine)}`, where: '--gpu', remedy: 'Leave --gpu out; the engine graph-webgpu uses GPUs without any installation.' });
  }
  const own = /^tensorflow\/(THIRD_PARTY_NOTICES\.txt|include\/LICENSE|libtensorflow_(cc|framework)\.(so\.2|2\.dylib)|include\/(tensorflow\/c\/(c_api|tf_|eager\/c_api|c_api_macros)[^/]*\.h|tensorflow\/core\/platform\/ctstring[^/]*|tsl\/platform\/ctstring[^/]*|xla\/tsl\/c\/[^/]*\.h))$/;
  return {
    kind: 'tensorflow', version, gpu, module: bindingPath, keepsWheels: true,
    // The second is smaller, where it exists.
    wheels: { name: gpu || !(platform === 'linux' && arch === 'x64') ? 'tensorflow' : 'tensorflow-cpu', version, extras: gpu ? ['and-cuda'] : [] },
    keep: entry => own.test(entry) || nvidiaFiles.test(entry) || licenses.test(entry),
    require: () => requireCompiler(version),
    async remarks() {
      const unverified = version === verifiedTensorFlow ? [] : [`PEFT Lab was tested with TensorFlow ${verifiedTensorFlow}, not with ${version}.`];
      return [...unverified, ...platform === 'darwin' ? ['This was not tested on macOS.'] : [], ...gpu ? driverRemarks(await nvidiaDriver(), 525) : []];
    },
    finish: ({ folder, fresh, signal }) => makeBinding({ folder, version, fresh, signal }),
  };
}

/**
 * ONNX Runtime with CUDA: a copy of the bundled onnxruntime-node in which the library is the one from the wheel
 * onnxruntime-gpu of the same version. The library looks for its CUDA part in its own folder, and both come from one build.
 */
function cudaRecipe({ version, machine }: { version: string | undefined; machine: Platform }): Recipe {
  const bundled = packageFolder('onnxruntime-node');
  const own = (JSON.parse(fs.readFileSync(path.join(bundled, 'package.json'), 'utf8')) as { version: string }).version;
  if (!(machine.platform === 'linux' && machine.arch === 'x64')) {
    throw new UserError({ what: `ONNX Runtime's Node.js package knows no CUDA on ${describePlatform(machine)}`, where: 'runtime install cuda', remedy: 'The engine graph-webgpu uses the GPU without any installation.' });
  }
  if (version !== undefined && version !== own) {
    throw new UserError({ what: `the CUDA part must have the version of the bundled ONNX Runtime, ${own}`, where: '--version', remedy: 'Leave --version out.' });
  }
  return {
    kind: 'cuda', version: own, gpu: true, module: 'node_modules/onnxruntime-node',
    wheels: { name: 'onnxruntime-gpu', version: own, extras: ['cuda', 'cudnn'] }, keepsWheels: true,
    keep: entry => /^onnxruntime\/capi\/libonnxruntime(\.so\.[\d.]+|_providers_(cuda|shared)\.so)$/.test(entry) || nvidiaFiles.test(entry) || licenses.test(entry),
    require: () => Promise.resolve(),
    remarks: async () => driverRemarks(await nvidiaDriver(), 580), // its wheels on PyPI are built for CUDA 13
    finish: ({ folder }) => copyOnnxRuntime({ folder, bundled, version: own }),
  };
}

async function copyOnnxRuntime({ folder, bundled, version }: { folder: string; bundled: string; version: string }): Promise<void> {
  const target = path.join(folder, 'node_modules/onnxruntime-node');
  const binaries = path.join('bin/napi-v6', process.platform, process.arch), from = path.join(folder, 'site/onnxruntime/capi');
  await copyAll(bundled, target, ['package.json', 'dist']);
  await copyAll(packageFolder('onnxruntime-common'), path.join(folder, 'node_modules/onnxruntime-common'), ['package.json', 'dist']);
  await copyAll(path.join(bundled, binaries), path.join(target, binaries), ['onnxruntime_binding.node']);
  const names = { [`libonnxruntime.so.${version}`]: 'libonnxruntime.so.1', 'libonnxruntime_providers_cuda.so': '', 'libonnxruntime_providers_shared.so': '' };
  for (const [name, renamed] of Object.entries(names)) {
    // A resumed installation has moved some of them already.
    if (fs.existsSync(path.join(from, name))) await fs.promises.rename(path.join(from, name), path.join(target, binaries, renamed || name));
    if (fs.existsSync(path.join(target, binaries, renamed || name))) continue;
    throw new UserError({ what: `the wheel of onnxruntime-gpu ${version} holds no ${name}`, where: folder, remedy: 'Report this with your version of PEFT Lab; the engine graph-webgpu uses the GPU without any installation.' });
  }
}

/** The C compiler that is fetched where a machine has none: it brings all headers and libraries that it needs. */
export const verifiedZig = '0.17.1';

/** PEFT Lab's own kernels, compiled here. */
async function kernelsRecipe({ gpu, version, machine }: Omit<RecipeOptions, 'kind'>): Promise<Recipe> {
  const { sources, headers } = kernelSources();
  const own = kernelsVersion({ sources }, machine.arch);
  refuseKernels({ gpu, version, machine }, own);
  const found = await findCCompiler();
  return {
    kind: 'kernels', version: own, gpu: false, module: kernelsFile, keepsWheels: false,
    wheels: found ? null : { name: 'ziglang', version: verifiedZig, extras: [] },
    keep: entry => /^ziglang\//.test(entry) && !otherSystems.test(entry),
    require: () => Promise.resolve(),
    remarks: () => Promise.resolve([found
      ? `Compiled on this machine with ${found}, in less than a minute.`
      : 'There is no C compiler on this machine. The one in the package ziglang is fetched, compiles the kernels, and is removed again.', ...machine.platform === 'darwin' ? ['This was not tested on macOS.'] : []]),
    async finish({ folder, signal }) {
      await compileKernels({ sources, headers, target: path.join(folder, kernelsFile), compiler: found ? { command: found } : zigCompiler(folder, machine), signal });
    },
  };
}

function refuseKernels({ gpu, version, machine }: Omit<RecipeOptions, 'kind'>, own: string): void {
  if (machine.platform === 'win32' || kernelVariants(machine.arch).length === 0) {
    throw new UserError({
      what: `there are no kernels for ${describePlatform(machine)}`, where: 'runtime install kernels',
      remedy: `${machine.platform === 'win32' ? 'Use WSL 2, or the' : 'Use the'} engines graph and graph-webgpu, which need no installation here.`,
    });
  }
  if (gpu) throw new UserError({ what: 'the kernels compute on the processor', where: '--gpu', remedy: 'Leave --gpu out.' });
  if (version !== undefined && version !== own) throw new UserError({ what: `the kernels have the version of PEFT Lab and of their sources, ${own}`, where: '--version', remedy: 'Leave --version out.' });
}

/** Two thirds of its files: what it compiles C++ and programs for other systems with. */
const otherSystems = /^ziglang\/lib\/(docs|libcxx|libcxxabi|libtsan|libc\/(mingw|wasi|freebsd|netbsd|openbsd)|libc\/include\/[^/]*(windows|wasi|freebsd|netbsd|openbsd)[^/]*)\//;

/** Told what to compile for, it does not compile for this very processor: a data folder may serve several machines. */
function zigCompiler(folder: string, { platform, arch }: Platform): Compiler {
  const processor = arch === 'arm64' ? 'aarch64' : 'x86_64', cache = path.join(folder, 'site/cache');
  return {
    command: path.join(folder, 'site/ziglang/zig'), args: ['cc', '-target', platform === 'darwin' ? `${processor}-macos` : `${processor}-linux-gnu.2.17`],
    environment: { ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: cache },
  };
}

async function copyAll(from: string, to: string, names: readonly string[]): Promise<void> {
  await fs.promises.mkdir(to, { recursive: true });
  for (const name of names) await fs.promises.cp(path.join(from, name), path.join(to, name), { recursive: true });
}

/** Where an installed package lies: in a folder node_modules above this bundle, or above the working directory in tests. */
function packageFolder(name: string): string {
  const places = createRequire(__filename).resolve.paths(name) ?? [];
  const folder = [...places, path.resolve('node_modules')].map(place => path.join(place, name)).find(one => fs.existsSync(path.join(one, 'package.json')));
  if (folder) return folder;
  throw new UserError({ what: `the package ${name} is missing`, remedy: 'Install PEFT Lab again, or run `npm ci`.' });
}

function driverRemarks(driver: Driver | null, oldest: number): string[] {
  if (!driver) return [`No NVIDIA driver was found on this machine. Version ${oldest} or newer is needed where it is to compute on a GPU.`];
  if (Number.parseInt(driver.version, 10) >= oldest) return [];
  return [`The NVIDIA driver is ${driver.version}, and ${oldest} or newer is needed: update it.`];
}
