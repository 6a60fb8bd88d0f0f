/**
 * Programs run operation by operation under a tfjs backend: `cpu`, the reference for gradients, `wasm`, which is always
 * there, and `tensorflow`, which its engine registers beforehand.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { UserError } from '../common/errors';
import { checkFeeds } from './feeds';
import { registerComposedKernels } from './fused';
import type { DType, HostTensor, HostTensors, Program, Session, SessionOptions, Tensors } from './program';
import { tf } from './tfjs';
import { registerWasm } from './wasm';

export type EagerBackend = 'cpu' | 'wasm' | 'tensorflow';

export async function openEager(backend: EagerBackend, options: SessionOptions): Promise<Session> {
  await useBackend(backend);
  const constants = mapRecord(options.constants, value => tf.keep(toTensor(value, 'float32')));
  const state = mapRecord(options.state, value => tf.keep(toTensor(value, 'float32')));
  return {
    async call(name, feeds) {
      await useBackend(backend); // another session may have been busy since
      const program = findProgram(options.programs, name);
      checkFeeds(name, program.feeds, feeds);
      return runProgram(program, feeds, { constants, state });
    },
    async readState() {
      return Object.fromEntries(await Promise.all(Object.entries(state).map(async ([name, t]) => [name, await toHost(t)])));
    },
    async writeState(values) {
      for (const [name, value] of Object.entries(values)) replaceState(state, name, toTensor(value, 'float32'));
    },
    async dispose() {
      for (const tensor of [...Object.values(constants), ...Object.values(state)]) tensor.dispose();
    },
  };
}

export function findProgram(programs: Record<string, Program>, name: string): Program {
  const program = programs[name];
  if (!program) throw new Error(`no program '${name}' in this session; there are ${Object.keys(programs).join(', ')}`);
  return program;
}

/** Makes a backend the current one, registering it and its kernels at first use. */
export async function useBackend(backend: EagerBackend): Promise<void> {
  if (!prepared.has(backend)) prepared.set(backend, prepare(backend));
  await prepared.get(backend);
  if (!(await tf.setBackend(backend))) {
    throw new UserError({ what: `the tfjs backend '${backend}' does not start here`, remedy: 'Run `peft-lab doctor` to see which engines do.' });
  }
}

const prepared = new Map<EagerBackend, Promise<void>>();

async function prepare(backend: EagerBackend): Promise<void> {
  if (backend === 'cpu') await import('@tensorflow/tfjs-backend-cpu');
  else if (backend === 'wasm') await registerWasm();
  registerComposedKernels(backend);
}

async function runProgram(program: Program, feeds: HostTensors, kept: { constants: Tensors; state: Tensors }): Promise<HostTensors> {
  const before = new Set(Object.values(kept.state));
  const fetched = tf.tidy(() => {
    const inputs = Object.fromEntries(program.feeds.map(spec => [spec.name, toTensor(feeds[spec.name]!, spec.dtype)]));
    const { fetches, state } = program.run({ ...kept.constants, ...kept.state, ...inputs });
    for (const [name, value] of Object.entries(state)) {
      if (!(name in kept.state)) throw new Error(`no state '${name}' in this session`);
      kept.state[name] = tf.keep(value);
    }
    return fetches;
  });
  const host = await Promise.all(Object.entries(fetched).map(async ([name, t]) => [name, await toHost(t)] as const));
  // A fetch may be a constant or state, new or old; a new value may be the old one of another name.
  const living = new Set([...Object.values(kept.state), ...Object.values(kept.constants)]);
  for (const tensor of new Set([...before, ...Object.values(fetched)])) if (!living.has(tensor)) tensor.dispose();
  return Object.fromEntries(host);
}

function replaceState(state: Tensors, name: string, value: Tensor): void {
  const old = state[name];
  if (!old) throw new Error(`no state '${name}' in this session`);
  if (old === value) return;
  state[name] = tf.keep(value);
  old.dispose();
}

function toTensor({ data, shape }: HostTensor, dtype: DType): Tensor {
  return tf.tensor(data, [...shape], dtype);
}

async function toHost(tensor: Tensor): Promise<HostTensor> {
  const data = await tensor.data();
  return { shape: tensor.shape, data: Float32Array.from(data as Float32Array) };
}

function mapRecord<A, B>(record: Record<string, A>, map: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
