/**
 * The tensorflow engine: programs are traced, written as one SavedModel and run by TensorFlow through tfjs-node's
 * binding, one call a step, with the state in TensorFlow's own variables. XLA compiles them; where it cannot, TensorFlow
 * runs the same graph node by node, and where it cannot do that, tfjs-node runs the program operation by operation.
 */
import { UserError } from '../common/errors';
import { openEager } from './eager';
import { passesLeftOut } from './graph/left-out';
import type { Trace } from './graph/nodes';
import { optimize, passes } from './graph/passes';
import { trace } from './graph/trace';
import type { Precision, Session, SessionOptions } from './program';
import type { LoadedBinding } from './tensorflow/binding';
import { loadBinding } from './tensorflow/binding';
import { registerTensorflowBackend } from './tensorflow/eager';
import { SavedModelSession } from './tensorflow/session';
import type { Way } from './tensorflow/ways';
import { openFirstWay } from './tensorflow/ways';
import { writeSavedModel } from './tensorflow/write';

/** From the fastest to the one that can do most. */
const forms = ['xla', 'graph', 'eager'] as const;
type Form = typeof forms[number];

export async function openTensorflow(options: SessionOptions): Promise<Session> {
  const { precision = 'f32', threads, programs, state } = options;
  const { binding, runtime } = loadBinding({ threads, precision });
  const isOnGpu = binding.isUsingGpuDevice();
  if (precision === 'tf32' && !isOnGpu) {
    throw new UserError({
      what: `TensorFlow ${runtime.version} finds no GPU, and only an NVIDIA GPU has tf32`, where: 'engine tensorflow', remedy: 'Set recipe.precision to "f32".',
    });
  }
  const ways: Record<Form, Way> = {
    xla: { description: 'compiled by XLA', open: from => openModel({ ...options, state: from }, binding, 'compiled') },
    graph: { description: 'as a TensorFlow graph, without XLA', open: from => openModel({ ...options, state: from }, binding, 'interpreted') },
    eager: { description: 'operation by operation, by tfjs-node', open: from => openOperations({ ...options, state: from }, binding) },
  };
  const usable = formsFor(precision, isOnGpu);
  if (!usable.length) throw new UserError({ what: 'tfjs-node computes operation by operation in f32 only', where: 'PEFT_LAB_TENSORFLOW=eager', remedy: 'Set recipe.precision to "f32".' });
  return openFirstWay({ programs, state, ways: usable.map(form => ways[form]), title: `on TensorFlow ${runtime.version} (${isOnGpu ? 'GPU' : 'CPU'}),` });
}

/**
 * In the order in which they are tried; for diagnosis, PEFT_LAB_TENSORFLOW=xla, graph or eager names the first. On a CPU,
 * XLA multiplies bfloat16 no faster than float32, where TensorFlow's own products use the processor's instructions for it.
 */
function formsFor(precision: Precision, isOnGpu: boolean): readonly Form[] {
  const able: readonly Form[] = precision !== 'bf16' ? forms : isOnGpu ? ['xla', 'graph'] : ['graph', 'xla'];
  const asked = forms.find(form => form === process.env['PEFT_LAB_TENSORFLOW']);
  if (asked === undefined) return able;
  return able.includes(asked) ? able.slice(able.indexOf(asked)) : [];
}

async function openOperations(options: SessionOptions, binding: LoadedBinding['binding']): Promise<Session> {
  await registerTensorflowBackend(binding);
  return openEager('tensorflow', options);
}

/** Passes that know nothing of the format which is written; TensorFlow and XLA fuse and order nodes themselves. */
const neutralPasses = ['drop-identities', 'drop-unused', 'narrow-rows'];

async function openModel({ programs, state, constants, precision }: SessionOptions, binding: LoadedBinding['binding'], how: 'compiled' | 'interpreted'): Promise<Session> {
  const traces = new Map<string, Trace>();
  const without = [...passes.map(({ name }) => name).filter(name => !neutralPasses.includes(name)), ...passesLeftOut()];
  for (const [name, program] of Object.entries(programs)) traces.set(name, optimize(await trace({ program, state, constants }), { without }));
  const session = new SavedModelSession(binding, writeSavedModel(traces, { compiled: how === 'compiled', products: precision === 'bf16' ? 'bfloat16' : 'float32' }));
  try {
    session.write(constants);
    session.write(state);
  } catch (error) {
    session.dispose();
    throw error;
  }
  const names = Object.keys(state);
  return {
    async call(name, feeds) { return session.call(name, feeds); },
    async readState() { return session.read(names); },
    async writeState(values) {
      const unknown = Object.keys(values).find(name => !names.includes(name));
      if (unknown !== undefined) throw new Error(`no state '${unknown}' in this session`);
      session.write(values);
    },
    async dispose() { session.dispose(); },
  };
}
