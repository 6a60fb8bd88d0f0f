/**
 * The graph engine on a GPU: the same traced program, written for one of ONNX Runtime's GPU providers. Frozen weights
 * are sent to the device once, for all programs; a step's new state stays there and becomes the next step's, and the
 * old one is freed at once (garbage collection knows nothing of the device's memory). No node may run on the processor:
 * ONNX Runtime is told to refuse such a graph.
 */
import type * as OnnxRuntime from 'onnxruntime-node';
import { findProgram } from './eager';
import { checkFeeds } from './feeds';
import { inPrecision } from './graph/half-precision';
import { hoistCasts } from './graph/hoist-casts';
import { passesLeftOut } from './graph/left-out';
import type { HalfType } from './graph/nodes';
import { sizeOf } from './graph/nodes';
import { optimize } from './graph/passes';
import { recompute } from './graph/recompute';
import { trace } from './graph/trace';
import { dataTypes, encodeModel } from './onnx/model';
import { updateName, writeOnnx, type Dialect } from './onnx/write';
import type { EngineId, HostTensor, HostTensors, Program, Session, SessionOptions } from './program';

type OrtOptions = NonNullable<Parameters<typeof OnnxRuntime['InferenceSession']['create']>[1]>;

/** What is used here of the package onnxruntime-node; onnx/device.ts is the same by an addon of the project's own. */
export interface GpuRuntime {
  Tensor: new (type: never, data: never, shape: readonly number[]) => GpuTensor;
  InferenceSession: { create(model: Uint8Array, options: GpuSessionOptions): Promise<GpuSession> };
}

export type GpuSessionOptions = Omit<OrtOptions, 'preferredOutputLocation'> & { preferredOutputLocation?: Record<string, 'cpu' | 'gpu-buffer'> };

export interface GpuSession {
  readonly inputNames: readonly string[];
  run(feeds: Readonly<Record<string, GpuTensor>>): Promise<Record<string, GpuTensor>>;
  release(): Promise<void>;
}

export interface GpuTensor {
  readonly dims: readonly number[];
  /** 'cpu' for the host. */
  readonly location: string;
  /** Of a tensor on the host. */
  readonly data: unknown;
  /** Gives its memory back at once. */
  dispose(): void;
}

/** One of ONNX Runtime's GPU providers. */
export interface GpuProvider {
  id: EngineId;
  ort: GpuRuntime;
  /** As ONNX Runtime takes it. */
  provider: NonNullable<OrtOptions['executionProviders']>[number];
  dialect: Dialect;
  /** Where outputs that are fed back stay: on the device, where the binding can hold them there. */
  stateLocation: 'gpu-buffer' | 'cpu';
}

export async function openOnProvider(gpu: GpuProvider, options: SessionOptions): Promise<Session> {
  const memory = new DeviceMemory(gpu);
  const constants = new DeviceConstants(memory, options.constants);
  const state = new DeviceState(memory, options.state);
  const compiled = new Map<string, Promise<Compiled>>();
  const find = (name: string) => {
    if (!compiled.has(name)) compiled.set(name, compile(gpu, findProgram(options.programs, name), options));
    return compiled.get(name)!;
  };
  return {
    async call(name, feeds) {
      const program = await find(name);
      checkFeeds(name, options.programs[name]!.feeds, feeds);
      return runStep(gpu, program, { feeds, state, constants: await constants.get(program.inputs.constants) });
    },
    readState: () => state.read(),
    async writeState(values) { state.write(values); },
    async dispose() {
      state.dispose();
      constants.dispose();
      await memory.dispose();
      // A program that could not be compiled has told so where it was called.
      for (const program of await Promise.allSettled(compiled.values())) if (program.status === 'fulfilled') await program.value.session.release();
    },
  };
}

interface Compiled {
  session: GpuSession;
  /** What the model asks for; inputs that nothing reads are not in it. */
  inputs: { feeds: string[]; state: string[]; constants: Map<string, { constant: string; type: SentType }> };
  updates: string[];
  fetches: Map<string, readonly number[]>;
}

async function compile(gpu: GpuProvider, program: Program, { state, constants, precision = 'f32', recompute: again = 'off' }: SessionOptions): Promise<Compiled> {
  const optimized = optimize(await trace({ program, state, constants }), { without: passesLeftOut() });
  const lowered = inPrecision(recompute(optimized, again), precision);
  const { trace: traced, casts } = gpu.stateLocation === 'cpu' ? { trace: lowered, casts: new Map<string, never>() } : hoistCasts(lowered);
  // What is fed from the host would be sent with every step; in the model it is sent once, though for each program.
  const model = writeOnnx(traced, { dialect: gpu.dialect, where: `engine ${gpu.id}`, constants, constantsAs: gpu.stateLocation === 'cpu' ? 'initializers' : 'feeds' });
  const updates = [...traced.updates.keys()];
  const session = await createSession(gpu, model, { staying: updates.map(updateName), fetched: [...traced.fetches.keys()] });
  const ofKind = (kind: string) => session.inputNames.filter(name => traced.inputs.get(name)?.source?.kind === kind);
  const held = (name: string) => casts.get(name) ?? { constant: name, type: 'float32' as const };
  return {
    session, updates,
    inputs: { feeds: ofKind('feed'), state: ofKind('state'), constants: new Map(ofKind('constant').map(name => [name, held(name)])) },
    fetches: new Map([...traced.fetches].map(([name, { shape }]) => [name, shape])),
  };
}

interface Outputs {
  /** Left where the next call reads them. */
  staying: readonly string[];
  /** Brought to the host. */
  fetched: readonly string[];
}

function createSession({ ort, provider, stateLocation }: GpuProvider, model: Uint8Array, { staying, fetched }: Outputs): Promise<GpuSession> {
  const location = Object.fromEntries([...staying.map(name => [name, stateLocation] as const), ...fetched.map(name => [name, 'cpu'] as const)]);
  return ort.InferenceSession.create(model, {
    executionProviders: [provider], graphOptimizationLevel: 'basic', executionMode: 'sequential', enableMemPattern: false,
    intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 4,
    extra: {
      session: { disable_cpu_ep_fallback: provider === 'cpu' ? '0' : '1' }, // 'cpu' is for tests
      optimization: { disable_specified_optimizers: 'CommonSubexpressionElimination' }, // it would undo recomputation
    },
    ...stateLocation === 'gpu-buffer' && { preferredOutputLocation: location },
  });
}

interface StepInputs {
  feeds: HostTensors;
  state: DeviceState;
  constants: Record<string, GpuTensor>;
}

async function runStep(gpu: GpuProvider, { session, inputs, updates, fetches }: Compiled, { feeds, state, constants }: StepInputs): Promise<HostTensors> {
  await state.settle(inputs.state.filter(name => !updates.includes(name)));
  const given: Record<string, GpuTensor> = { ...constants };
  for (const name of inputs.feeds) given[name] = toOrt(gpu, feeds[name]!);
  for (const name of inputs.state) given[name] = state.get(name);
  const results = await session.run(given);
  for (const name of inputs.feeds) given[name]!.dispose();
  for (const name of updates) state.replace(name, results[updateName(name)]!);
  return Object.fromEntries([...fetches].map(([name, shape]) => [name, { shape, data: results[name]!.data as Float32Array }]));
}

/** The state, by name. What was written lies on the host until a step replaces it, or a program reads it again and again. */
class DeviceState {
  private readonly tensors: Record<string, GpuTensor>;

  constructor(private readonly memory: DeviceMemory, initial: HostTensors) {
    this.tensors = Object.fromEntries(Object.entries(initial).map(([name, { shape, data }]) => [name, toOrt(memory.gpu, { shape, data: Float32Array.from(data) })]));
  }

  get(name: string): GpuTensor {
    const tensor = this.tensors[name];
    if (!tensor) throw new Error(`no state '${name}' in this session on ${this.memory.gpu.id}`);
    return tensor;
  }

  replace(name: string, tensor: GpuTensor): void {
    this.memory.free(this.get(name));
    this.tensors[name] = tensor;
  }

  write(values: HostTensors): void {
    for (const name of Object.keys(values)) this.get(name); // all or nothing
    for (const [name, { shape, data }] of Object.entries(values)) this.replace(name, toOrt(this.memory.gpu, { shape, data: Float32Array.from(data) }));
  }

  async settle(names: readonly string[]): Promise<void> {
    if (this.memory.gpu.stateLocation === 'cpu') return;
    const onHost = names.filter(name => this.get(name).location === 'cpu');
    const sent = await this.memory.send(Object.fromEntries(onHost.map(name => [name, this.get(name)])), 'float32');
    for (const [name, tensor] of Object.entries(sent)) this.replace(name, tensor);
  }

  async read(): Promise<HostTensors> {
    const onDevice = Object.fromEntries(Object.entries(this.tensors).filter(([, { location }]) => location !== 'cpu'));
    const fetched = await this.memory.fetch(onDevice);
    return Object.fromEntries(Object.keys(this.tensors).map(name => {
      const { dims, data } = fetched[name] ?? this.get(name);
      return [name, { shape: [...dims], data: Float32Array.from(data as Float32Array) }];
    }));
  }

  dispose(): void {
    for (const tensor of Object.values(this.tensors)) this.memory.free(tensor);
  }
}

/** What never changes, sent when a program first asks for it, in the type that it asks for. */
class DeviceConstants {
  private readonly sent: Record<string, GpuTensor> = {};

  constructor(private readonly memory: DeviceMemory, private readonly values: HostTensors) {}

  async get(wanted: Compiled['inputs']['constants']): Promise<Record<string, GpuTensor>> {
    for (const type of ['float32', 'float16', 'bfloat16'] as const) {
      const missing = [...wanted].filter(([name, from]) => !this.sent[name] && from.type === type);
      const values = Object.fromEntries(missing.map(([name, { constant }]) => [name, toOrt(this.memory.gpu, this.values[constant]!)]));
      Object.assign(this.sent, await this.memory.send(values, type));
    }
    return Object.fromEntries([...wanted.keys()].map(name => [name, this.sent[name]!]));
  }

  dispose(): void {
    for (const tensor of Object.values(this.sent)) this.memory.free(tensor);
  }
}

type SentType = 'float32' | HalfType;

/**
 * Copies to and from the device. Node.js has no other way there than a model's inputs and outputs: one that does nothing
 * else. What a session made is gone with the session, so that one lives as long as the last of its tensors.
 */
class DeviceMemory {
  private readonly makers = new Map<GpuTensor, Maker>();
  private readonly released: Promise<void>[] = [];

  constructor(readonly gpu: GpuProvider) {}

  /** To the device, rounded to a lower type where one is asked for. */
  async send(tensors: Record<string, GpuTensor>, type: SentType): Promise<Record<string, GpuTensor>> {
    if (!Object.keys(tensors).length) return {};
    const session = await this.copier(tensors, { type, stays: true });
    const sent = await runCopier(session, tensors);
    const maker: Maker = { session, tensors: 0 };
    for (const tensor of Object.values(sent)) {
      this.makers.set(tensor, maker);
      maker.tensors++;
    }
    return sent;
  }

  async fetch(tensors: Record<string, GpuTensor>): Promise<Record<string, GpuTensor>> {
    if (!Object.keys(tensors).length) return {};
    const session = await this.copier(tensors, { type: 'float32', stays: false });
    try {
      return await runCopier(session, tensors);
    } finally {
      await session.release();
    }
  }

  /** Tensors on the host are the garbage collector's. */
  free(tensor: GpuTensor): void {
    if (tensor.location === 'cpu') return;
    tensor.dispose();
    const maker = this.makers.get(tensor);
    if (!maker) return;
    this.makers.delete(tensor);
    if (--maker.tensors === 0) this.released.push(maker.session.release());
  }

  async dispose(): Promise<void> {
    await Promise.all(this.released);
  }

  private copier(tensors: Record<string, GpuTensor>, { type, stays }: { type: SentType; stays: boolean }): Promise<GpuSession> {
    const names = Object.keys(tensors);
    const outputs = names.map(copyName);
    const model = encodeModel({
      nodes: names.map(name => type === 'float32'
        ? { operator: 'Identity', inputs: [name], outputs: [copyName(name)] }
        : { operator: 'Cast', inputs: [name], outputs: [copyName(name)], attributes: { to: dataTypes[type] } }),
      initializers: [],
      inputs: names.map(name => ({ name, shape: tensors[name]!.dims, type: 'float32' })),
      outputs: names.map(name => ({ name: copyName(name), shape: tensors[name]!.dims, type })),
    });
    return createSession(this.gpu, model, stays ? { staying: outputs, fetched: [] } : { staying: [], fetched: outputs });
  }
}

/** A session whose outputs stay on the device, and how many of them are still needed. */
interface Maker { session: GpuSession; tensors: number }

const copyName = (name: string) => `${name} copied`;

async function runCopier(session: GpuSession, tensors: Record<string, GpuTensor>): Promise<Record<string, GpuTensor>> {
  const results = await session.run(tensors);
  return Object.fromEntries(Object.keys(tensors).map(name => [name, results[copyName(name)]!]));
}

function toOrt({ ort, dialect }: GpuProvider, { shape, data }: HostTensor): GpuTensor {
  if (sizeOf(shape) !== data.length) throw new Error(`a tensor of shape [${shape.join(', ')}] with ${data.length} values`);
  return new ort.Tensor((data instanceof Uint8Array ? dialect.masks : 'float32') as never, data as never, [...shape]);
}
