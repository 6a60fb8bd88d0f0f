/**
 * Tracing: a tfjs backend whose kernels compute nothing and record a node each. A program runs on it once, autodiff and
 * optimiser included, and leaves the list of everything it would have done.
 */
import type { BackendValues, DataType, KernelFunc, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { UserError } from '../../common/errors';
import type { HostTensors, Program, Tensors } from '../program';
import { tf } from '../tfjs';
import { kernelAttributes, kernelShapes } from './kernel-shapes';
import type { Attributes, Node, Trace, Value, ValueSource } from './nodes';
import { sameShape } from './nodes';

export interface TraceOptions {
  program: Program;
  state: HostTensors;
  constants: HostTensors;
}

/** Records one run of a program. Throws a UserError that names the kernel when it uses one that cannot be traced. */
export async function trace({ program, state, constants }: TraceOptions): Promise<Trace> {
  registerOnce();
  await tf.setBackend('trace');
  recording = { nodes: [], values: new Map(), count: 0 };
  try {
    let traced: Trace | undefined;
    tf.tidy(() => { traced = record(program, { state, constants }); });
    return traced!;
  } catch (error) {
    throw explain(error);
  }
}

interface Recording {
  nodes: Node[];
  values: Map<object, Value>;
  count: number;
}
let recording: Recording = { nodes: [], values: new Map(), count: 0 };

function record(program: Program, { state, constants }: { state: HostTensors; constants: HostTensors }): Trace {
  const inputs = new Map<string, Value>();
  const tensors: Tensors = {};
  const add = (name: string, shape: readonly number[], dtype: DataType, kind: 'feed' | 'state' | 'constant') => {
    const { tensor, value } = makeInput([...shape], dtype, { kind, name });
    tensors[name] = tensor;
    inputs.set(name, value);
  };
  for (const [name, { shape }] of Object.entries(constants)) add(name, shape, 'float32', 'constant');
  for (const [name, { shape }] of Object.entries(state)) add(name, shape, 'float32', 'state');
  for (const { name, shape, dtype } of program.feeds) add(name, shape, dtype, 'feed');
  const result = program.run(tensors);
  return { nodes: recording.nodes, inputs, fetches: valuesOf(result.fetches), updates: valuesOf(result.state) };
}

function valuesOf(tensors: Tensors): Map<string, Value> {
  return new Map(Object.entries(tensors).map(([name, t]) => [name, valueOf(t)]));
}

function makeInput(shape: number[], dtype: DataType, source: ValueSource): { tensor: Tensor; value: Value } {
  const value = newValue(shape, dtype, source);
  const dataId = {};
  recording.values.set(dataId, value);
  return { tensor: tf.engine().makeTensorFromTensorInfo({ dataId, shape, dtype }), value };
}

function newValue(shape: readonly number[], dtype: DataType, source?: ValueSource): Value {
  return { id: recording.count++, shape, dtype: dtype as Value['dtype'], ...(source && { source }) };
}

/** The value of a tensor; a reshaped view of the same data is a node of its own. */
function valueOf({ dataId, shape }: TensorInfo): Value {
  const value = recording.values.get(dataId);
  if (!value) throw new Error('a tensor from outside the program was used in it');
  if (sameShape(value.shape, shape)) return value;
  return emit('Reshape', [value], [{ shape, dtype: value.dtype as DataType }], {})[0]!;
}

function emit(kernel: string, inputs: Value[], outputs: { shape: readonly number[]; dtype: DataType }[], attributes: Attributes): Value[] {
  const made = outputs.map(({ shape, dtype }) => newValue(shape, dtype));
  recording.nodes.push({ kernel, inputs, outputs: made, attributes });
  return made;
}

function asTensorInfo(value: Value): TensorInfo {
  const dataId = {};
  recording.values.set(dataId, value);
  return { dataId, shape: [...value.shape], dtype: value.dtype as DataType };
}

function literal(data: Float32Array | Int32Array | Uint8Array, shape: readonly number[], dtype: DataType): Value {
  const head = data[0] ?? 0;
  const uniform = data.length > 0 && data.every(v => v === head) ? head : null;
  return newValue(shape, dtype, { kind: 'literal', data, uniform });
}

let registered = false;

function registerOnce(): void {
  if (registered) return;
  registered = true;
  tf.registerBackend('trace', () => new TraceBackend(), 0);
  for (const kernelName of Object.keys(kernelShapes)) tf.registerKernel({ kernelName, backendName: 'trace', kernelFunc: recorder(kernelName) });
  // The same value under a data id of its own: tfjs counts tensors of one id wrongly where its backend disposes of it at once.
  const same: KernelFunc = ({ inputs }) => asTensorInfo(valueOf(inputs['x'] as TensorInfo));
  tf.registerKernel({ kernelName: 'Identity', backendName: 'trace', kernelFunc: same });
  const fill = (shape: readonly number[], value: number, dtype: DataType) => asTensorInfo(
    newValue(shape, dtype, { kind: 'literal', data: Float32Array.of(value), uniform: value }));
  tf.registerKernel({ kernelName: 'Fill', backendName: 'trace', kernelFunc: ({ attrs }) => fill(attrs!['shape'] as number[], attrs!['value'] as number, 'float32') });
  tf.registerKernel({ kernelName: 'ZerosLike', backendName: 'trace', kernelFunc: ({ inputs }) => fill((inputs['x'] as TensorInfo).shape, 0, 'float32') });
  tf.registerKernel({ kernelName: 'OnesLike', backendName: 'trace', kernelFunc: ({ inputs }) => fill((inputs['x'] as TensorInfo).shape, 1, 'float32') });
}

function recorder(kernel: string): KernelFunc {
  return ({ inputs, attrs }) => {
    // AddN and Concat take a list, which arrives as an object with numbers for keys.
    const infos = Object.fromEntries(Object.entries(inputs).filter(([, t]) => t)) as Record<string, TensorInfo>;
    const attributes = (attrs ?? {}) as Record<string, unknown>;
    const outputs = kernelShapes[kernel]!(infos, attributes);
    const plain = kernelAttributes[kernel]?.(infos, attributes) ?? (attributes as Attributes);
    const made = emit(kernel, Object.values(infos).map(valueOf), outputs, plain).map(asTensorInfo);
    return made.length === 1 && !alwaysList.has(kernel) ? made[0]! : made;
  };
}

/** Kernels whose callers expect a list even of one. */
const alwaysList = new Set(['SplitV', 'LayerNormalizeGradient', 'Gelu', 'GeluGradient', 'ApplyMask', 'AddAtIndices', 'TakeAtIndices', 'Choose']);

class TraceBackend extends tf.KernelBackend {
  override write(values: BackendValues, shape: number[], dtype: DataType): object {
    return asTensorInfo(literal(values as Float32Array, shape, dtype)).dataId;
  }
  override move(dataId: object, values: BackendValues, shape: number[], dtype: DataType): void {
    recording.values.set(dataId, literal(values as Float32Array, shape, dtype));
  }
  override readSync(): BackendValues { throw new Error('a traced program reads a tensor\'s values, which are not known while tracing'); }
  override read(): Promise<BackendValues> { return Promise.reject(new Error('a traced program reads a tensor\'s values')); }
  override disposeData(): boolean { return true; }
  override refCount(): number { return 1; }
  override incRef(): void { /* values live as long as the recording */ }
  decRef(): void { /* as above */ }
  override numDataIds(): number { return recording.values.size; }
  override memory() { return { unreliable: true }; }
  override floatPrecision(): 32 { return 32; }
  override epsilon(): number { return 1e-7; }
  override timerAvailable(): boolean { return false; }
}

function explain(error: unknown): unknown {
  const kernel = /Kernel '(\w+)' not registered for backend 'trace'/.exec(String(error))?.[1];
  if (!kernel) return error;
  return new UserError({
    what: `a traced program has no kernel '${kernel}'`,
    remedy: 'Write the method with the operations of vit/operations.ts; where only its gradient has this kernel, the engine "wasm" will do.', cause: error,
  });
}
