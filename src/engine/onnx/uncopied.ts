/**
 * Runs without copies. onnxruntime-node computes into the memory that it is given for an output, and then returns a copy of each
 * output all the same: of a gigabyte of state that would be a gigabyte more, and its time, in every step. The copies are made one
 * after the other when all is computed, and a list of tensors is nothing that the package can return: a run that asks for one,
 * before all other outputs, ends with that refusal where the copying would begin.
 */
import type * as OnnxRuntime from 'onnxruntime-node';
import { encodeModel, type OnnxNode, type OnnxSequence } from './model';

type Ort = typeof OnnxRuntime;
type OrtSession = Awaited<ReturnType<Ort['InferenceSession']['create']>>;
type OrtTensors = Record<string, InstanceType<Ort['Tensor']>>;

const name = 'unreturnable';
const refusal = 'Non tensor type';

/** What a model begins with whose runs shall copy nothing. */
export const unreturnable: { nodes: OnnxNode[]; outputs: OnnxSequence[] } = {
  nodes: [{ operator: 'SequenceEmpty', inputs: [], outputs: [name] }], outputs: [{ name, sequenceOf: 'float32' }],
};

/** Computes `outputs` into the memory that they bring. The model begins with `unreturnable`. */
export async function runUncopied(session: OrtSession, inputs: OrtTensors, outputs: OrtTensors): Promise<void> {
  try {
    await session.run(inputs, { [name]: null, ...outputs });
  } catch (error) {
    if (!(error instanceof Error && error.message.includes(refusal))) throw error;
  }
}

/** Whether this package computes before it refuses: another version might not. Asked once for a process. */
export function sparesCopies(ort: Ort): Promise<boolean> {
  return known ??= tryOut(ort).catch(() => false);
}
let known: Promise<boolean> | undefined;

async function tryOut(ort: Ort): Promise<boolean> {
  const scalar = (name: string) => ({ name, shape: [1], type: 'float32' as const });
  const model = encodeModel({
    nodes: [...unreturnable.nodes, { operator: 'Neg', inputs: ['x'], outputs: ['y'] }], initializers: [],
    inputs: [scalar('x')], outputs: [...unreturnable.outputs, scalar('y')],
  });
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  try {
    const y = new ort.Tensor('float32', Float32Array.of(0), [1]);
    await runUncopied(session, { x: new ort.Tensor('float32', Float32Array.of(1), [1]) }, { y });
    return y.data[0] === -1;
  } finally {
    await session.release();
  }
}
