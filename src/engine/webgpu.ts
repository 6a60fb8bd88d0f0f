/**
 * ONNX Runtime's WebGPU provider, which comes with the package: Vulkan on Linux, Direct3D 12 on Windows, Metal on macOS.
 * A driver that computes on the processor is no GPU and slower than the processor's own engines: it is refused unless
 * PEFT_LAB_SOFTWARE_GPU=1 asks for it, as tests do.
 */
import fs from 'node:fs';
import type * as OnnxRuntime from 'onnxruntime-node';
import { UserError } from '../common/errors';
import { openOnProvider, type GpuProvider } from './graph-gpu';
import { encodeModel } from './onnx/model';
import { webgpuDialect } from './onnx/webgpu';
import type { Precision, Session, SessionOptions } from './program';

type Ort = typeof OnnxRuntime;

export async function openWebGpu(options: SessionOptions): Promise<Session> {
  const gpu = await (prepared ??= prepare());
  if (options.precision === 'f16') await (halfTested ??= tryOut(await loadRuntime(), 'f16'));
  return openOnProvider(gpu, options);
}

let prepared: Promise<GpuProvider> | undefined;
let halfTested: Promise<void> | undefined;

/** The adapter is chosen once for a process; a session that stays open keeps the device and its compiled shaders. */
async function prepare(): Promise<GpuProvider> {
  const ort = await loadRuntime();
  const backend = ort.listSupportedBackends().find(({ name }) => name === 'webgpu');
  if (!backend) throw unavailable(`ONNX Runtime has no WebGPU for ${process.platform}-${process.arch}`);
  await tryOut(ort, 'f32');
  const driver = softwareDriver(adapterEvidence());
  if (driver && process.env['PEFT_LAB_SOFTWARE_GPU'] !== '1') {
    throw new UserError({
      what: `the only adapter here is ${driver}, which computes on the processor`, where: 'engine graph-webgpu',
      remedy: 'Use the engine "graph", or install the driver of your GPU. PEFT_LAB_SOFTWARE_GPU=1 uses it all the same.',
    });
  }
  return { id: 'graph-webgpu', ort, provider: { name: 'webgpu' }, dialect: webgpuDialect, stateLocation: 'gpu-buffer' };
}

async function loadRuntime(): Promise<Ort> {
  try {
    return await import('onnxruntime-node');
  } catch (cause) {
    throw unavailable(`ONNX Runtime does not load on this machine (${process.platform}-${process.arch})`, cause);
  }
}

/** A product of two 4 by 4 matrices, which needs everything that a program needs. The session stays open. */
async function tryOut(ort: Ort, precision: Extract<Precision, 'f32' | 'f16'>): Promise<void> {
  const shape = [4, 4];
  const model = encodeModel({
    nodes: precision === 'f32' ? [{ operator: 'MatMul', inputs: ['x', 'x'], outputs: ['y'] }] : [
      { operator: 'Cast', inputs: ['x'], outputs: ['half'], attributes: { to: 10 } },
      { operator: 'MatMul', inputs: ['half', 'half'], outputs: ['product'] },
      { operator: 'Cast', inputs: ['product'], outputs: ['y'], attributes: { to: 1 } },
    ],
    initializers: [], inputs: [{ name: 'x', shape, type: 'float32' }], outputs: [{ name: 'y', shape, type: 'float32' }],
  });
  try {
    const session = await ort.InferenceSession.create(model, { executionProviders: ['webgpu'], logSeverityLevel: 4, extra: { session: { disable_cpu_ep_fallback: '1' } } });
    const { y } = await session.run({ x: new ort.Tensor('float32', new Float32Array(16).fill(1), shape) });
    if (y!.data[0] !== 4) throw new Error(`a product that is 4 came out as ${String(y!.data[0])}`);
    kept.push(session);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (precision === 'f16') {
      throw new UserError({
        what: `the adapter cannot compute in f16 (${reason(message)})`, where: 'engine graph-webgpu',
        remedy: 'Set recipe.precision to "f32".', cause,
      });
    }
    throw /adapter/i.test(message) ? unavailable('there is no WebGPU adapter', cause) : unavailable(`WebGPU does not start: ${reason(message)}`, cause);
  }
}

const kept: unknown[] = [];

/** ONNX Runtime's errors begin with the place in its sources. */
function reason(message: string): string {
  return message.split('\n').map(line => line.trim()).filter(Boolean).at(-1)!.replace(/^.*?\.cc:\d+ (?:[\w:<>~&, ()]+\) )?/, '').slice(0, 200);
}

function unavailable(what: string, cause?: unknown): UserError {
  const driver: Partial<Record<NodeJS.Platform, string>> = {
    linux: 'Install the Vulkan driver of your GPU (NVIDIA\'s own, or mesa-vulkan-drivers) and libvulkan1', win32: 'Install the current driver of your GPU',
  };
  return new UserError({ what, where: 'engine graph-webgpu', remedy: `${driver[process.platform] ?? 'Update the system'}, or use another engine.`, cause });
}

/** What this process has opened for its adapter. ONNX Runtime does not say what it chose; it takes hardware before software. */
export interface AdapterEvidence {
  platform: NodeJS.Platform;
  /** Shared libraries in the process. */
  libraries: readonly string[];
  /** Open device files; Linux only. */
  devices: readonly string[];
}

function adapterEvidence(): AdapterEvidence {
  const { platform } = process;
  if (platform === 'linux') return { platform, libraries: mappedFiles(), devices: openFiles().filter(file => file.startsWith('/dev/')) };
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
  return { platform, libraries: sharedObjects, devices: [] };
}

function mappedFiles(): string[] {
  const paths = fs.readFileSync('/proc/self/maps', 'utf8').split('\n').map(line => line.split(/\s+/)[5] ?? '');
  return [...new Set(paths.filter(file => file.startsWith('/')))];
}

function openFiles(): string[] {
  return fs.readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      return [fs.readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // closed since: the listing's own
    }
  });
}

/**
 * The driver that computes on the processor, null where there is hardware. Linux: a hardware driver holds its device file
 * open (drivers of hardware that is not there are loaded all the same). Windows: WARP is loaded beside hardware drivers;
 * it is what is used where none of theirs is. macOS has none.
 */
export function softwareDriver({ platform, libraries, devices }: AdapterEvidence): string | null {
  const names = libraries.map(file => file.split(/[\\/]/).at(-1)!.toLowerCase());
  const has = (pattern: RegExp) => names.some(name => pattern.test(name));
  switch (platform) {
    case 'linux':
      if (devices.some(file => /^\/dev\/(?:dri\/|nvidia|dxg|kfd|mali|kgsl)/.test(file))) return null;
      if (has(/vulkan_lvp/)) return 'llvmpipe (Mesa)';
      return has(/vk_swiftshader/) ? 'SwiftShader' : 'a driver without a device';
    case 'win32':
      return has(/^d3d10warp\.dll$/) && !has(/^(?:nv|amd|ati|ig[cdx]|qcdx)\w*\.dll$/) ? 'Microsoft\'s Basic Render Driver (WARP)' : null;
    default:
      return null;
  }
}
