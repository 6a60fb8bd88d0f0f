/**
 * The tensorflow engine: programs are traced, written as one SavedModel and run by TensorFlow through tfjs-node's
 * binding, one call a step, with the state in TensorFlow's own variables. XLA compiles them; where it cannot, TensorFlow
 * runs the same graph node by node, and where it cannot do that, tfjs-node runs the program operation by operation.
 */
import { describeError, UserError } from '../common/errors';
import { findProgram, openEager } from './eager';
import { checkFeeds } from './feeds';
import type { Trace } from './graph/nodes';
import { optimize, passes } from './graph/passes';
import { trace } from './graph/trace';
import type { HostTensors, Session, SessionOptions } from './program';
import { loadBinding } from './tensorflow/binding';
import { registerTensorflowBackend } from './tensorflow/eager';
import { SavedModelSession } from './tensorflow/session';
import { writeSavedModel } from './tensorflow/write';

/** From the fastest to the one that can do most. */
const forms = ['xla', 'graph', 'eager'] as const;
export type TensorflowForm = typeof forms[number];

const descriptions: Record<TensorflowForm, string> = {
  xla: 'compiled by XLA', graph: 'as a TensorFlow graph, without XLA', eager: 'operation by operation, by tfjs-node',
};

export async function openTensorflow(options: SessionOptions): Promise<Session> {
  const { precision = 'f32', threads } = options;
  const { binding, runtime } = loadBinding({ threads, precision });
  if (precision === 'tf32' && !binding.isUsingGpuDevice()) {
    throw new UserError({
      what: `TensorFlow ${runtime.version} finds no GPU, and only an NVIDIA GPU has tf32`, where: 'engine tensorflow', remedy: 'Set recipe.precision to "f32".',
    });
  }
  const context: OpenContext = { options, binding, reasons: [] };
  let opened = await openFrom(context, firstForm());
  const proven = new Set<string>();
  const callCarefully = async (name: string, feeds: HostTensors): Promise<HostTensors> => {
    for (;;) {
      try {
        return await opened.session.call(name, feeds);
      } catch (error) {
        // A program's first call compiles it. Nothing was assigned when it failed.
        if (proven.has(name) || opened.form === 'eager') throw error;
        opened = await fallBack(opened, context, error);
      }
    }
  };
  return {
    async call(name, feeds) {
      checkFeeds(name, findProgram(options.programs, name).feeds, feeds);
      const results = await callCarefully(name, feeds);
      proven.add(name);
      return results;
    },
    readState: () => opened.session.readState(),
    writeState: values => opened.session.writeState(values),
    dispose: () => opened.session.dispose(),
    execution: () => [`TensorFlow ${runtime.version} on the ${binding.isUsingGpuDevice() ? 'GPU' : 'CPU'}, ${descriptions[opened.form]}`, ...context.reasons].join('; '),
  };
}

/** For diagnosis: PEFT_LAB_TENSORFLOW=graph or eager leaves out the faster ways. */
function firstForm(): TensorflowForm {
  const asked = process.env['PEFT_LAB_TENSORFLOW'];
  return forms.find(form => form === asked) ?? 'xla';
}

interface OpenContext {
  options: SessionOptions;
  binding: ReturnType<typeof loadBinding>['binding'];
  /** Why it does not run in a faster form. */
  reasons: string[];
}

interface Opened {
  form: TensorflowForm;
  session: Session;
}

/** The first form that opens, from `form` on. */
async function openFrom(context: OpenContext, form: TensorflowForm): Promise<Opened> {
  if (form === 'eager') return { form, session: await openEagerly(context) };
  try {
    return { form, session: await openGraphForm(context, form) };
  } catch (error) {
    return openFrom(context, refuse(context, form, error));
  }
}

/** The next form, with the state as it is. */
async function fallBack({ form, session }: Opened, context: OpenContext, error: unknown): Promise<Opened> {
  const next = refuse(context, form, error);
  const state = await session.readState();
  await session.dispose();
  return openFrom({ ...context, options: { ...context.options, state } }, next);
}

/** Notes why a form is given up; returns the next. A model that cannot be written is not written for the next form either. */
function refuse({ reasons }: OpenContext, form: TensorflowForm, error: unknown): TensorflowForm {
  reasons.push(`not ${descriptions[form]}: ${describeError(error).split('\n')[0]}`);
  return error instanceof UserError || form === 'graph' ? 'eager' : 'graph';
}

async function openEagerly({ options, binding, reasons }: OpenContext): Promise<Session> {
  const { precision = 'f32' } = options;
  if (precision === 'bf16') {
    throw new UserError({ what: 'tfjs-node computes operation by operation in f32 only', where: 'engine tensorflow', remedy: `Set recipe.precision to "f32". ${reasons.join('; ')}` });
  }
  await registerTensorflowBackend(binding);
  return openEager('tensorflow', options);
}

/** Passes that know nothing of the format which is written; TensorFlow and XLA fuse and order nodes themselves. */
const neutralPasses = ['drop-identities', 'drop-unused', 'narrow-rows'];

async function openGraphForm({ options, binding }: OpenContext, form: 'xla' | 'graph'): Promise<Session> {
  const { programs, state, constants, precision } = options;
  const traces = new Map<string, Trace>();
  const without = [...passes.map(({ name }) => name).filter(name => !neutralPasses.includes(name)), ...(process.env['PEFT_LAB_WITHOUT_PASSES'] ?? '').split(',')];
  for (const [name, program] of Object.entries(programs)) traces.set(name, optimize(await trace({ program, state, constants }), { without }));
  const session = new SavedModelSession(binding, writeSavedModel(traces, { compiled: form === 'xla', products: precision === 'bf16' ? 'bfloat16' : 'float32' }));
  session.write(constants);
  session.write(state);
  const stateNames = new Set(Object.keys(state));
  return {
    async call(name, feeds) { return session.call(name, feeds); },
    async readState() { return Object.fromEntries(Object.entries(session.read()).filter(([name]) => stateNames.has(name))); },
    async writeState(values) {
      const unknown = Object.keys(values).find(name => !stateNames.has(name));
      if (unknown !== undefined) throw new Error(`no state '${unknown}' in this session`);
      session.write(values);
    },
    async dispose() { session.dispose(); },
  };
}
