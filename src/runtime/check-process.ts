/**
 * The check of a runtime, a process of its own: `node dist/runtime-check.cjs FOLDER`. It loads the runtime's native part
 * and, where that can be asked for one product, multiplies two matrices; one JSON line says how it went. A crash takes only this process.
 */
import { createRequire } from 'node:module';
import { readRuntime, runtimeModulePath, type Runtime, type RuntimeCheck, type RuntimeKind } from '../common/runtimes';
import { kernelsVersion } from '../engine/native/sources';
import { loadNvidiaLibraries } from '../engine/nvidia-libraries';
import { encodeModel } from '../engine/onnx/model';

export type CheckOutcome = Omit<RuntimeCheck, 'checked'>;

const left = Float32Array.of(1, 2, 3, 4), right = Float32Array.of(5, 6, 7, 8), product = [19, 22, 43, 50];

const checks: Record<RuntimeKind, (runtime: Runtime) => CheckOutcome | Promise<CheckOutcome>> = { tensorflow: checkTensorFlow, cuda: checkCuda, kernels: checkKernels };

void main(process.argv[2] ?? '');

async function main(folder: string): Promise<void> {
  const runtime = readRuntime(folder);
  let outcome: CheckOutcome;
  try {
    if (!runtime) throw new Error(`no runtime lies in ${folder}`);
    outcome = await checks[runtime.kind](runtime);
  } catch (error) {
    outcome = { works: false, says: (error as Error).message, devices: [] };
  }
  process.stdout.write(`\n${JSON.stringify(outcome)}\n`, () => process.exit(0));
}

/** The part of the binding that is used here; tensors are numbers. */
interface TensorFlowBinding {
  TF_Version: string;
  TF_FLOAT: number;
  TF_ATTR_BOOL: number;
  TF_ATTR_TYPE: number;
  isUsingGpuDevice(): boolean;
  createTensor(shape: number[], type: number, values: Float32Array): number;
  executeOp(name: string, attributes: { name: string; type: number; value: unknown }[], inputs: number[], outputs: number): { id: number }[];
  tensorDataSync(id: number): Float32Array;
}

function checkTensorFlow(runtime: Runtime): CheckOutcome {
  const binding = createRequire(__filename)(runtimeModulePath(runtime)) as TensorFlowBinding;
  const flag = (name: string) => ({ name, type: binding.TF_ATTR_BOOL, value: false });
  const inputs = [left, right].map(values => binding.createTensor([2, 2], binding.TF_FLOAT, values));
  const [output] = binding.executeOp('MatMul', [flag('transpose_a'), flag('transpose_b'), { name: 'T', type: binding.TF_ATTR_TYPE, value: binding.TF_FLOAT }], inputs, 1);
  requireProduct(binding.tensorDataSync(output!.id));
  const onGpu = binding.isUsingGpuDevice();
  const without = runtime.gpu && !onGpu ? ', since it found no GPU that it can use' : '';
  return { works: true, says: `TensorFlow ${binding.TF_Version} computes on the ${onGpu ? 'GPU' : 'processor'}${without}`, devices: onGpu ? ['GPU', 'CPU'] : ['CPU'] };
}

/** The part of onnxruntime-node that is used here. */
interface OnnxRuntime {
  InferenceSession: { create(model: Uint8Array, options: object): Promise<{ run(feeds: Record<string, unknown>): Promise<Record<string, { data: Float32Array }>> }> };
  Tensor: new (type: 'float32', data: Float32Array, shape: number[]) => unknown;
}

async function checkCuda(runtime: Runtime): Promise<CheckOutcome> {
  const ort = createRequire(__filename)(runtimeModulePath(runtime)) as OnnxRuntime;
  await multiply(ort, ['cpu']);
  try {
    loadNvidiaLibraries(runtime);
    await multiply(ort, ['cuda']);
  } catch (error) {
    return { works: false, says: `ONNX Runtime ${runtime.version} loads, its CUDA part does not: ${(error as Error).message}`, devices: [] };
  }
  return { works: true, says: `ONNX Runtime ${runtime.version} computes on the GPU`, devices: ['CUDA'] };
}

async function multiply({ InferenceSession, Tensor }: OnnxRuntime, executionProviders: string[]): Promise<void> {
  const value = (name: string) => ({ name, shape: [2, 2], type: 'float32' as const });
  const model = encodeModel({ nodes: [{ operator: 'MatMul', inputs: ['a', 'b'], outputs: ['c'] }], initializers: [], inputs: [value('a'), value('b')], outputs: [value('c')] });
  const onlyThere = executionProviders.includes('cpu') ? {} : { extra: { session: { disable_cpu_ep_fallback: '1' } } };
  const session = await InferenceSession.create(model, { executionProviders, logSeverityLevel: 4, ...onlyThere });
  const { c } = await session.run({ a: new Tensor('float32', left, [2, 2]), b: new Tensor('float32', right, [2, 2]) });
  requireProduct(c!.data);
}

function checkKernels(runtime: Runtime): CheckOutcome {
  if (runtime.version !== kernelsVersion()) return { works: false, says: 'It was compiled from the sources of another version of PEFT Lab: install it again', devices: [] };
  const { instructionSet } = createRequire(__filename)(runtimeModulePath(runtime)) as { instructionSet: string };
  if (!instructionSet) return { works: false, says: 'this processor has none of the instruction sets that the kernels are written for', devices: [] };
  return { works: true, says: `the kernels load, and use ${instructionSet}`, devices: ['CPU'] };
}

function requireProduct(values: ArrayLike<number>): void {
  if (values.length === 4 && product.every((value, i) => Math.abs(values[i]! - value) < 0.1)) return;
  throw new Error(`it computes wrongly: ${Array.from(values).join(', ')} instead of ${product.join(', ')}`);
}
