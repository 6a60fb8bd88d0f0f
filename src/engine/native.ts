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
import { machineIsIdle } from './idle';
import { loadKernels, type Buffer, type KernelsBinding, type NamedMemory, type Pool } from './native/binding';
import { planProgram, type BufferSpec, type Plan } from './native/plan';
import type { HostTensors, Program, Session, SessionOptions } from './program';
import { placeOfWeights } from './weights';

/** How often waiting threads look for work before they sleep: about half a millisecond, where nobody else wants the processor. */
const [spinsWhenIdle, spinsBesideOthers] = [20_000, 200];

export async function openNative(options: SessionOptions): Promise<Session> {
  const kernels = loadKernels();
  const machine: Machine = { kernels, pool: kernels.openPool(options.threads), spinning: await machineIsIdle() ? spinsWhenIdle : spinsBesideOthers };
  const state = Object.fromEntries(Object.entries(options.state).map(([name, { shape, data }]) => [name, { shape, data: options.ownsState ? data : Float32Array.from(data) }]));
  const memory = new SessionMemory(machine, options.constants);
  const plans = new Map<string, Promise<Plan>>();
  const find = (name: string) => {
    if (!plans.has(name)) plans.set(name, plan(findProgram(options.programs, name), options));
    return plans.get(name)!;
  };
  return {
    async call(name, feeds) {
      const found = await find(name);
      checkFeeds(name, options.programs[name]!.feeds, feeds);
      await memory.prepare(found);
      return runPlan(machine, found, { feeds, state, constants: options.constants, memory });
    },
    async readState() { return { ...state }; },
    async writeState(values) {
      for (const [name, { data }] of Object.entries(values)) {
        if (!state[name]) throw new Error(`no state '${name}' in this session`);
        (state[name].data as Float32Array).set(data);
      }
    },
    execution: () => ({ how: `with ${kernels.instructionSet}`, reasons: [] }),
    async dispose() { memory.release(); },
  };
}

/** Where instructions run. */
interface Machine {
  kernels: KernelsBinding;
  pool: Pool;
  spinning: number;
}

async function plan(program: Program, options: SessionOptions): Promise<Plan> {
  const { state, constants, recompute: what = 'off' } = options;
  // Halving before the gradient of GELU serves another way to compute it; probabilities are not kept in any case.
  const traced = optimize(await trace({ program, state, constants }), { without: [...passesLeftOut(), 'fold-scales'] });
  return planProgram(recompute(traced, what === 'attention' ? 'off' : what), { layOutWeights: placeOfWeights(options) === 'built-in' });
}

interface Data {
  feeds: HostTensors;
  state: HostTensors;
  constants: HostTensors;
  memory: SessionMemory;
}

async function runPlan({ kernels, pool, spinning }: Machine, { words, buffers, literals, fetches }: Plan, { feeds, state, constants, memory }: Data): Promise<HostTensors> {
  const results = Object.fromEntries([...fetches].map(([name, shape]) => [name, { shape, data: new Float32Array(sizeOf(shape)) }]));
  const named = { feed: feeds, state, constant: constants, fetch: results };
  const find = (spec: BufferSpec): Buffer => {
    switch (spec.kind) {
      case 'block': return memory.block;
      case 'literals': return literals;
      case 'panels': return memory.panels(spec.name);
      case 'feed': case 'state': case 'constant': case 'fetch': return named[spec.kind][spec.name]!.data;
      default: return spec satisfies never;
    }
  };
  await run({ kernels, pool, spinning }, words, buffers.map(find));
  return results;
}

async function run({ kernels, pool, spinning }: Machine, words: Float64Array, buffers: readonly Buffer[]): Promise<void> {
  const said = await kernels.run(pool, spinning, words, buffers);
  if (said !== 'done') throw new Error(`engine native: ${said}`);
}

/** Memory that the programs of a session share: one block for what nodes make, and weights laid out for products. */
class SessionMemory {
  private whole: NamedMemory | null = null;
  private bytes = 0;
  private readonly laidOut = new Map<string, NamedMemory>();

  constructor(private readonly machine: Machine, private readonly constants: HostTensors) {}

  get block(): NamedMemory {
    if (!this.whole) throw new Error('no program was prepared');
    return this.whole;
  }

  panels(name: string): NamedMemory {
    return this.laidOut.get(name)!;
  }

  /** Sees to it that a program has what it needs. */
  async prepare({ blockBytes, panels }: Plan): Promise<void> {
    if (!this.whole || this.bytes < blockBytes) {
      if (this.whole) this.machine.kernels.release(this.whole);
      this.whole = null;
      this.whole = this.machine.kernels.allocate(blockBytes);
      this.bytes = blockBytes;
    }
    for (const [name, { weight, bytes, words }] of panels) {
      if (this.laidOut.has(name)) continue;
      const memory = this.machine.kernels.allocate(bytes);
      await run(this.machine, words, [this.constants[weight]!.data, memory]);
      this.laidOut.set(name, memory);
    }
  }

  release(): void {
    for (const memory of [...this.whole ? [this.whole] : [], ...this.laidOut.values()]) this.machine.kernels.release(memory);
    this.whole = null;
    this.laidOut.clear();
  }
}
