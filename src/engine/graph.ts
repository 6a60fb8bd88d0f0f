/**
 * The graph engine: a program is traced once, written as one ONNX graph and run by ONNX Runtime in one call a step.
 * State stays in buffers that ONNX Runtime reads and writes where they lie.
 */
import type * as OnnxRuntime from 'onnxruntime-node';
import { collectGarbage } from '../common/collect-garbage';
import { UserError } from '../common/errors';
import { findProgram } from './eager';
import { checkFeeds } from './feeds';
import { inPrecision } from './graph/half-precision';
import { inPlaceState } from './graph/in-place';
import { passesLeftOut } from './graph/left-out';
import type { Trace } from './graph/nodes';
import { sizeOf } from './graph/nodes';
import { optimize, type Pass } from './graph/passes';
import { recompute } from './graph/recompute';
import { trace } from './graph/trace';
import { transposeFirst } from './graph/transpose-first';
import { mayThreadsSpin } from './idle';
import { runUncopied, sparesCopies } from './onnx/uncopied';
import { updateName, writeOnnx } from './onnx/write';
import type { HostTensor, HostTensors, Program, Session, SessionOptions } from './program';
import { placeOfWeights } from './weights';

type Ort = typeof OnnxRuntime;
type OrtTensor = InstanceType<Ort['Tensor']>;
type OrtSession = Awaited<ReturnType<Ort['InferenceSession']['create']>>;

/** What serves ONNX Runtime on a processor and may be left out for diagnosis, as the passes of every graph. */
export const optionalPasses: readonly Pass[] = [{ name: 'transpose-first', run: transposeFirst }];

/** So many bytes of the copies that onnxruntime-node makes of outputs, where it cannot be spared them, may lie about. */
const largestGarbage = 128 * 2 ** 20;

export async function openGraph(options: SessionOptions): Promise<Session> {
  const ort = await loadRuntime();
  const state = new StateBuffers(ort, options);
  const constants = mapValues(options.constants, value => toOrt(ort, value));
  const compiled = new Map<string, Promise<Compiled>>();
  const find = (name: string) => {
    if (!compiled.has(name)) compiled.set(name, compile(ort, findProgram(options.programs, name), options));
    return compiled.get(name)!;
  };
  let garbage = 0;
  return {
    async call(name, feeds) {
      const program = await find(name);
      checkFeeds(name, options.programs[name]!.feeds, feeds);
      const fetched = await runStep(ort, program, { feeds, state, constants });
      garbage += program.copiedBytes;
      if (garbage > largestGarbage) {
        collectGarbage();
        garbage = 0;
      }
      return fetched;
    },
    async readState() { return state.read(); },
    async writeState(values) { state.write(values); },
    async dispose() {
      // A program that could not be compiled has told so where it was called.
      for (const program of await Promise.allSettled(compiled.values())) if (program.status === 'fulfilled') await program.value.session.release();
    },
  };
}

/** ONNX Runtime, loaded when first needed: it is native code. */
async function loadRuntime(): Promise<Ort> {
  try {
    return await import('onnxruntime-node');
  } catch (cause) {
    throw new UserError({
      what: `ONNX Runtime does not load on this machine (${process.platform}-${process.arch})`, where: 'engine graph',
      remedy: 'Use the engine "wasm", or see `peft-lab doctor`.', cause,
    });
  }
}

interface Compiled {
  session: OrtSession;
  /** What the model asks for; inputs that nothing reads are not in it. */
  inputs: { feeds: string[]; state: string[]; constants: string[] };
  updates: { name: string; inPlace: boolean }[];
  fetches: Map<string, readonly number[]>;
  /** Nothing of a run is copied; else, of the state that it changes, so many bytes. */
  uncopied: boolean;
  copiedBytes: number;
}

async function compile(ort: Ort, program: Program, options: SessionOptions): Promise<Compiled> {
  const maySpin = mayThreadsSpin(options.threads); // looks while the program is listed
  const traced = await listOf(program, options);
  const [weights, uncopied] = [placeOfWeights(options), await sparesCopies(ort)];
  const model = writeOnnx(traced, {
    where: 'engine graph', constants: options.constants, constantsAs: weights === 'fed' ? 'feeds' : 'external', unreturnable: uncopied,
  });
  const session = await ort.InferenceSession.create(model, {
    ...sessionOptions({ threads: options.threads, spin: await maySpin }),
    ...weights === 'built-in' && { externalData: externalConstants(traced, options.constants) },
  });
  const inPlace = inPlaceState(traced);
  return {
    session,
    inputs: sortInputs(traced, session.inputNames),
    updates: [...traced.updates.keys()].map(name => ({ name, inPlace: inPlace.has(name) })),
    fetches: new Map([...traced.fetches].map(([name, { shape }]) => [name, shape])),
    uncopied,
    copiedBytes: uncopied ? 0 : 4 * [...traced.updates.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0),
  };
}

async function listOf(program: Program, { state, constants, recompute: what = 'off', precision = 'f32' }: SessionOptions): Promise<Trace> {
  const without = passesLeftOut();
  const optimized = optimize(await trace({ program, state, constants }), { without, others: optionalPasses });
  const lowered = inPrecision(recompute(optimized, what), precision);
  return optionalPasses.filter(({ name }) => !without.includes(name)).reduce((list, { run }) => run(list), lowered);
}

/** The arrays that a model with external constants is read together with, by the names of the tensors; ONNX Runtime may look at them as long as the session lives. */
function externalConstants({ inputs }: Trace, constants: HostTensors): { path: string; data: Uint8Array }[] {
  const names = [...inputs.values()].flatMap(({ source }) => (source?.kind === 'constant' ? [source.name] : []));
  return names.map(name => {
    const { data } = constants[name]!;
    return { path: name, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
  });
}

/**
 * Settings found by measurement: the memory pattern planner holds more than it saves on graphs of this kind; threads that
 * spin between nodes take 5 % off a step on an idle machine and add a third where another process runs beside them; the list is already in the order and form that is wanted.
 */
function sessionOptions({ threads, spin }: { threads: number; spin: boolean }): NonNullable<Parameters<Ort['InferenceSession']['create']>[1]> {
  return {
    intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: 'basic',
    enableCpuMemArena: true, enableMemPattern: false, logSeverityLevel: 3,
    extra: {
      session: { intra_op: { allow_spinning: spin ? '1' : '0' }, force_spinning_stop: '1' },
      optimization: { disable_specified_optimizers: 'CommonSubexpressionElimination' }, // it would undo recomputation
    },
  };
}

function sortInputs(traced: Trace, names: readonly string[]): Compiled['inputs'] {
  const ofKind = (kind: string) => names.filter(name => traced.inputs.get(name)?.source?.kind === kind);
  return { feeds: ofKind('feed'), state: ofKind('state'), constants: ofKind('constant') };
}

interface StepInputs {
  feeds: HostTensors;
  state: StateBuffers;
  constants: Record<string, OrtTensor>;
}

async function runStep(ort: Ort, { session, inputs, updates, fetches, uncopied }: Compiled, { feeds, state, constants }: StepInputs): Promise<HostTensors> {
  const given: Record<string, OrtTensor> = {};
  for (const name of inputs.feeds) given[name] = toOrt(ort, feeds[name]!);
  for (const name of inputs.state) given[name] = state.current(name);
  for (const name of inputs.constants) given[name] = constants[name]!;
  const wanted: Record<string, OrtTensor> = {};
  for (const { name, inPlace } of updates) wanted[updateName(name)] = inPlace ? state.current(name) : state.spare(name);
  const results = new Map([...fetches].map(([name, shape]) => [name, { shape, data: new Float32Array(sizeOf(shape)) }]));
  for (const [name, result] of results) wanted[name] = toOrt(ort, result);
  if (uncopied) await runUncopied(session, given, wanted);
  else await session.run(given, wanted);
  for (const { name, inPlace } of updates) if (!inPlace) state.swap(name);
  return Object.fromEntries(results);
}

/** The state of a session: a buffer each, and a second one for what cannot be written in place. */
class StateBuffers {
  private readonly buffers = new Map<string, { current: OrtTensor; spare: OrtTensor | null }>();

  constructor(private readonly ort: Ort, { state, ownsState = false }: Pick<SessionOptions, 'state' | 'ownsState'>) {
    for (const [name, { shape, data }] of Object.entries(state)) {
      this.buffers.set(name, { current: toOrt(ort, { shape, data: ownsState ? data : Float32Array.from(data) }), spare: null });
    }
  }

  current(name: string): OrtTensor {
    return this.find(name).current;
  }

  spare(name: string): OrtTensor {
    const buffer = this.find(name);
    return (buffer.spare ??= toOrt(this.ort, { shape: buffer.current.dims, data: new Float32Array(buffer.current.size) }));
  }

  swap(name: string): void {
    const buffer = this.find(name);
    [buffer.current, buffer.spare] = [buffer.spare!, buffer.current];
  }

  read(): HostTensors {
    return Object.fromEntries([...this.buffers].map(([name, { current }]) => [name, { shape: current.dims, data: current.data as Float32Array }]));
  }

  write(values: HostTensors): void {
    for (const [name, { data }] of Object.entries(values)) (this.find(name).current.data as Float32Array).set(data);
  }

  private find(name: string) {
    const buffer = this.buffers.get(name);
    if (!buffer) throw new Error(`no state '${name}' in this session`);
    return buffer;
  }
}

function toOrt(ort: Ort, { shape, data }: HostTensor): OrtTensor {
  return new ort.Tensor(data instanceof Uint8Array ? 'uint8' : 'float32', data as Uint8Array & Float32Array, [...shape]);
}

function mapValues<A, B>(record: Record<string, A>, map: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
