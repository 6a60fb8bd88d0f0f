/**
 * The native engine: a program is traced once, written as a list of instructions with every value in its place, and run by
 * the project's own kernels in one call a step. State stays in the arrays that the session holds, written where it lies.
 */
import { findProgram } from './eager';
import { checkFeeds } from './feeds';
import { passesLeftOut } from './graph/left-out';
import { sizeOf } from './graph/nodes';
import { optimize } from './graph/passes';
import { recompute } from './graph/recompute';
import { trace } from './graph/trace';
import { mayThreadsSpin } from './idle';
import { loadKernels, type Buffer, type KernelsBinding, type NamedMemory, type Pool } from './native/binding';
import { optionalPasses } from './native/passes';
import { planProgram, type BufferSpec, type Plan } from './native/plan';
import type { HostTensors, Program, Session, SessionOptions } from './program';
import { placeOfWeights } from './weights';

/**
 * How often waiting threads look for work before they sleep: for about half a millisecond where nobody else wants the
 * processor, else for a tenth of that, in which the next instruction has usually come.
 */
const [spinsWhenIdle, spinsBesideOthers] = [20_000, 2000];

export async function openNative(options: SessionOptions): Promise<Session> {
  const kernels = loadKernels();
  const maySpin = mayThreadsSpin(options.threads); // looks while the programs are planned
  const plans = await planAll(options);
  const machine: Machine = { kernels, pool: kernels.openPool(options.threads), spinning: await maySpin ? spinsWhenIdle : spinsBesideOthers };
  const memory = await holdMemory(machine, [...plans.values()].flatMap(plan => (plan instanceof Error ? [] : [plan])), options);
  return sessionOf(machine, { plans, memory, programs: options.programs, state: ownState(options) });
}

/** Where instructions run. */
interface Machine {
  kernels: KernelsBinding;
  pool: Pool;
  spinning: number;
}

interface Prepared {
  /** By program; an error where there can be none, told to who calls it. */
  plans: Map<string, Plan | Error>;
  memory: SessionMemory;
  programs: Record<string, Program>;
  state: HostTensors;
}

function sessionOf(machine: Machine, { plans, memory, programs, state }: Prepared): Session {
  return {
    async call(name, feeds) {
      const { feeds: specs } = findProgram(programs, name);
      const plan = plans.get(name)!;
      if (plan instanceof Error) throw plan;
      checkFeeds(name, specs, feeds);
      return runPlan(machine, plan, { feeds, state, memory });
    },
    async readState() { return { ...state }; },
    async writeState(values) {
      for (const [name, { data }] of Object.entries(values)) {
        if (!state[name]) throw new Error(`no state '${name}' in this session`);
        (state[name].data as Float32Array).set(data);
      }
    },
    execution: () => ({ how: `with ${machine.kernels.instructionSet}`, reasons: [] }),
    async dispose() {
      for (const named of [memory.block, ...memory.panels.values()]) machine.kernels.release(named);
    },
  };
}

/** All programs at once: only then is it known which weights are still read as they came. */
async function planAll(options: SessionOptions): Promise<Map<string, Plan | Error>> {
  const plans = new Map<string, Plan | Error>();
  for (const [name, program] of Object.entries(options.programs)) {
    plans.set(name, await planOf(program, options).catch((error: Error) => error));
  }
  return plans;
}

async function planOf(program: Program, options: SessionOptions): Promise<Plan> {
  const { state, constants, recompute: what = 'off' } = options;
  // Halving before the gradient of GELU serves another way to compute it; probabilities are not kept in any case.
  const without = [...passesLeftOut(), 'fold-scales'];
  const traced = optimize(await trace({ program, state, constants }), { without, others: optionalPasses });
  return planProgram(recompute(traced, what === 'attention' ? 'off' : what), { layOutWeights: placeOfWeights(options) === 'built-in', without });
}

function ownState({ state, ownsState }: SessionOptions): HostTensors {
  return Object.fromEntries(Object.entries(state).map(([name, { shape, data }]) => [name, { shape, data: ownsState ? data : Float32Array.from(data) }]));
}

/** What the programs of a session share: one block for what nodes make, weights laid out for products, and those read as they are. */
interface SessionMemory {
  block: NamedMemory;
  panels: Map<string, NamedMemory>;
  constants: HostTensors;
}

async function holdMemory(machine: Machine, plans: readonly Plan[], { constants, ownsConstants = false }: SessionOptions): Promise<SessionMemory> {
  const read = new Set(plans.flatMap(({ buffers }) => buffers.flatMap(buffer => (buffer.kind === 'constant' ? [buffer.name] : []))));
  const wanted = new Map(plans.flatMap(plan => [...plan.panels]));
  const panels = new Map<string, NamedMemory>();
  for (const [weight, { data }] of Object.entries(constants)) {
    const own = [...wanted].filter(([, { weight: of }]) => of === weight);
    for (const [name, { bytes, words }] of own) {
      panels.set(name, machine.kernels.allocate(bytes));
      await run(machine, words, [data, panels.get(name)!]);
    }
    // Weight by weight, so that a backbone is never there in all of its forms.
    if (own.length && ownsConstants && !read.has(weight) && data.byteLength === data.buffer.byteLength) machine.kernels.detach(data);
  }
  return {
    block: machine.kernels.allocate(Math.max(0, ...plans.map(({ blockBytes }) => blockBytes))), panels,
    constants: Object.fromEntries(Object.entries(constants).filter(([name]) => read.has(name))),
  };
}

async function runPlan(machine: Machine, { words, buffers, literals, fetches }: Plan, { feeds, state, memory }: { feeds: HostTensors; state: HostTensors; memory: SessionMemory }): Promise<HostTensors> {
  const results = Object.fromEntries([...fetches].map(([name, shape]) => [name, { shape, data: new Float32Array(sizeOf(shape)) }]));
  const named = { feed: feeds, state, constant: memory.constants, fetch: results };
  const find = (spec: BufferSpec): Buffer => {
    switch (spec.kind) {
      case 'block': return memory.block;
      case 'literals': return literals;
      case 'panels': return memory.panels.get(spec.name)!;
      case 'feed': case 'state': case 'constant': case 'fetch': return named[spec.kind][spec.name]!.data;
      default: return spec satisfies never;
    }
  };
  await run(machine, words, buffers.map(find));
  return results;
}

async function run({ kernels, pool, spinning }: Machine, words: Float64Array, buffers: readonly Buffer[]): Promise<void> {
  const said = await kernels.run(pool, spinning, words, buffers);
  if (said !== 'done') throw new Error(`engine native: ${said}`);
}
