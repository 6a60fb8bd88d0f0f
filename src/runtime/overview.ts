/** Runtimes as the doctor tells of them: what is installed, and what could be. */
import { findRuntime, installedRuntimes, type Runtime } from '../common/runtimes';
import { builtKernels, kernelsVersion, kernelVariants } from '../engine/native/sources';
import { nvidiaDriver, thisPlatform, type Driver, type Platform } from './platform';
import { runtimeTitle } from './plan';

export interface RuntimeOverview {
  installed: { title: string; folder: string; works: boolean | null; says: string }[];
  /** In sentences with the command. */
  possible: string[];
}

export async function runtimeOverview(): Promise<RuntimeOverview> {
  const runtimes = installedRuntimes();
  return {
    installed: runtimes.map(one => ({ title: runtimeTitle(one), folder: one.folder, works: one.check?.works ?? null, says: one.check?.says ?? 'not checked yet' })),
    possible: possibleRuntimes({ runtimes, kernels: hasKernels(), driver: await nvidiaDriver(), machine: thisPlatform() }),
  };
}

function hasKernels(): boolean {
  return (builtKernels() ?? findRuntime('kernels', { version: kernelsVersion() })) !== null;
}

export interface PossibleOptions {
  runtimes: readonly Pick<Runtime, 'kind' | 'gpu'>[];
  /** Whether kernels of this version are there, installed or built. */
  kernels: boolean;
  driver: Driver | null;
  machine: Platform;
}

/** What would bring something here that is not installed. */
export function possibleRuntimes({ runtimes, kernels, driver, machine: { platform, arch, glibc } }: PossibleOptions): string[] {
  const has = (kind: Runtime['kind'], gpu: boolean) => runtimes.some(one => one.kind === kind && (one.gpu || !gpu));
  const canUseWheels = (platform === 'linux' && glibc !== null) || (platform === 'darwin' && arch === 'arm64');
  const withCuda = platform === 'linux' && arch === 'x64' && glibc !== null && driver !== null;
  const gpu = driver?.gpus[0] ?? 'an NVIDIA GPU';
  return [
    ...withCuda && !has('tensorflow', true) ? [`For ${gpu}: TensorFlow with CUDA (peft-lab runtime install tensorflow --gpu).`] : [],
    ...withCuda && !has('cuda', true) ? [`For ${gpu}: ONNX Runtime with CUDA (peft-lab runtime install cuda).`] : [],
    ...canUseWheels && !withCuda && !has('tensorflow', false) ? ['For the processor: TensorFlow, whose XLA compiles the training step (peft-lab runtime install tensorflow).'] : [],
    ...platform !== 'win32' && kernelVariants(arch).length > 0 && !kernels ? ['For the processor: PEFT Lab\'s own kernels, compiled here (peft-lab runtime install kernels).'] : [],
  ];
}
