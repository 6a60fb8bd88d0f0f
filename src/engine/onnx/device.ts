/**
 * ONNX Runtime by the project's own addon, as far as graph-gpu.ts uses the package onnxruntime-node, which can leave
 * outputs on a WebGPU device but not on a CUDA one. With `cuda` null the device is the processor: so it is tested.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { GpuRuntime, GpuSession, GpuTensor } from '../graph-gpu';
import { loadAddon } from '../native/binding';

/** A value of ONNX Runtime's, in its memory or in an array's. */
type Value = object & { readonly value: unique symbol };
type Handle = object & { readonly session: unique symbol };

/** See native/kernels/onnxruntime.c. */
export interface OnnxBinding {
  openOnnxRuntime(library: string): void;
  onnxTensor(data: HostArray, shape: BigInt64Array, type: number): Value;
  releaseOnnxTensor(value: Value): void;
  onnxShape(value: Value): number[];
  onnxData(value: Value): Float32Array;
  openOnnxSession(model: Uint8Array, settings: readonly string[], cuda: readonly string[] | null): Handle;
  closeOnnxSession(session: Handle): void;
  onnxInputs(session: Handle): string[];
  runOnnxSession(session: Handle, names: readonly string[], values: readonly Value[], outputs: readonly string[], stays: readonly boolean[]): Promise<Value[]>;
}

type HostArray = Float32Array | Uint8Array;

export interface DeviceOptions {
  /** The package onnxruntime-node, or a copy of it. */
  folder: string;
  /** What the CUDA provider is told, such as device_id. */
  cuda: Readonly<Record<string, string>> | null;
}

/** Throws an Error where the addon or the library does not load. */
export function openDevice({ folder, cuda }: DeviceOptions): GpuRuntime {
  const binding = loadAddon();
  binding.openOnnxRuntime(libraryOf(folder));
  class Tensor extends HostTensor {
    constructor(type: string, data: HostArray, shape: readonly number[]) {
      super(binding, type, data, shape);
    }
  }
  return {
    Tensor,
    InferenceSession: {
      async create(model, { extra = {}, preferredOutputLocation = {} }) {
        const handle = binding.openOnnxSession(model, entries(flat(extra)), cuda && entries(cuda));
        return new DeviceSession(binding, handle, preferredOutputLocation);
      },
    },
  };
}

/** Where the package keeps the library for this platform. */
function libraryOf(folder: string): string {
  const binaries = path.join(folder, 'bin', fs.readdirSync(path.join(folder, 'bin')).find(name => name.startsWith('napi-'))!, process.platform, process.arch);
  const name = fs.readdirSync(binaries).find(one => /^libonnxruntime(\.so\.\d+|(\.[\d.]+)?\.dylib)$/.test(one));
  if (!name) throw new Error(`${binaries} holds no library of ONNX Runtime`);
  return path.join(binaries, name);
}

/** By the numbers of ONNXTensorElementDataType. */
const elementTypes: Record<string, number> = { float32: 1, uint8: 2, bool: 9 };

class HostTensor implements GpuTensor {
  readonly location = 'cpu';
  readonly value: Value;

  constructor(private readonly binding: OnnxBinding, type: string, readonly data: HostArray, readonly dims: readonly number[]) {
    const element = elementTypes[type];
    if (element === undefined) throw new Error(`a tensor of ${type}`);
    this.value = binding.onnxTensor(data, BigInt64Array.from(dims.map(BigInt)), element);
  }

  dispose(): void {
    this.binding.releaseOnnxTensor(this.value);
  }
}

class DeviceTensor implements GpuTensor {
  readonly location = 'gpu-buffer';
  readonly dims: readonly number[];

  constructor(private readonly binding: OnnxBinding, readonly value: Value) {
    this.dims = binding.onnxShape(value);
  }

  get data(): never {
    throw new Error('a tensor on the device has no data here');
  }

  dispose(): void {
    this.binding.releaseOnnxTensor(this.value);
  }
}

class DeviceSession implements GpuSession {
  readonly inputNames: readonly string[];
  private readonly outputs: readonly string[];
  private readonly stays: readonly boolean[];

  constructor(private readonly binding: OnnxBinding, private readonly handle: Handle, places: Readonly<Record<string, string>>) {
    this.inputNames = binding.onnxInputs(handle);
    this.outputs = Object.keys(places);
    this.stays = Object.values(places).map(place => place === 'gpu-buffer');
  }

  async run(feeds: Readonly<Record<string, GpuTensor>>): Promise<Record<string, GpuTensor>> {
    const tensors = this.inputNames.map(name => {
      const tensor = feeds[name];
      if (!(tensor instanceof HostTensor || tensor instanceof DeviceTensor)) throw new Error(`no tensor of this runtime is fed as '${name}'`);
      return tensor;
    });
    const values = await this.binding.runOnnxSession(this.handle, this.inputNames, tensors.map(({ value }) => value), this.outputs, this.stays);
    return Object.fromEntries(this.outputs.map((name, i) => [name, this.stays[i] ? new DeviceTensor(this.binding, values[i]!) : this.toHost(values[i]!)]));
  }

  async release(): Promise<void> {
    this.binding.closeOnnxSession(this.handle);
  }

  private toHost(value: Value): GpuTensor {
    const tensor = new HostTensor(this.binding, 'float32', this.binding.onnxData(value), this.binding.onnxShape(value));
    this.binding.releaseOnnxTensor(value);
    return tensor;
  }
}

/** { session: { a: '1' } } is 'session.a' = '1'. */
function flat(settings: unknown, prefix = ''): Record<string, string> {
  if (typeof settings !== 'object' || settings === null) return { [prefix]: String(settings) };
  return Object.assign({}, ...Object.entries(settings).map(([key, value]) => flat(value, prefix ? `${prefix}.${key}` : key))) as Record<string, string>;
}

function entries(record: Readonly<Record<string, string>>): string[] {
  return Object.entries(record).flat();
}
