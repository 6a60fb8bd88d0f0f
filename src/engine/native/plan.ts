/** A traced program as a list of instructions, with everything placed: what runs it needs only the buffers. */
import { UserError } from '../../common/errors';
import type { Node, Trace, Value } from '../graph/nodes';
import { sizeOf } from '../graph/nodes';
import { gatherTogether } from './compute-together';
import { findHomes, keepOldState, type Home } from './homes';
import type { Operand } from './instructions';
import { layOut, type Layouts } from './layout';
import { planMemory } from './memory';
import { forKernels } from './passes';
import { copyOut, packInstruction, writeNode, type PanelShape, type Places } from './write';

/** A buffer that instructions name by its number. */
export type BufferSpec =
  /** The block of what nodes make, and the program's own numbers. */
  | { kind: 'block' | 'literals' }
  | { kind: 'feed' | 'state' | 'constant' | 'fetch' | 'panels'; name: string };

/** A frozen weight laid out for the products that read it so. */
export interface Panels {
  weight: string;
  bytes: number;
  /** Fills buffer 1 from buffer 0. */
  words: Float64Array;
}

export interface Plan {
  words: Float64Array;
  buffers: BufferSpec[];
  blockBytes: number;
  literals: Float32Array;
  /** By the name that buffers have. */
  panels: Map<string, Panels>;
  fetches: Map<string, readonly number[]>;
}

export interface PlanOptions {
  /** Lay frozen weights out beforehand, for each way in which products read them. */
  layOutWeights: boolean;
  /** Names of optional passes that are left out. */
  without?: readonly string[];
}

export function planProgram(traced: Trace, { layOutWeights, without = [] }: PlanOptions): Plan {
  const fused = forKernels(keepOldState(traced), { without });
  const { layouts, nodes: single } = layOut(fused);
  const homes = findHomes(single, fused, layouts);
  const results = new Set([...homes.ofRoot.keys(), ...homes.copies.map(({ value }) => layouts(value).root)]);
  const nodes = gatherTogether(single, layouts, root => results.has(root));
  const memory = planMemory([...nodes, endOf(homes.copies.map(({ value }) => value))], layouts, root => homes.ofRoot.has(root));
  const table = new BufferTable();
  const places = placesOf({ layouts, home: root => homes.ofRoot.get(root), offset: root => memory.offsets.get(root) }, table, { nodes: single, fused, layOutWeights });
  const words = [
    ...nodes.map(node => writeNode(node, places)),
    ...homes.copies.map(({ value, home }) => copyOut(value, { buffer: table.number(home), bytes: 0 }, places)),
  ];
  return {
    words: Float64Array.from(words.flat()), buffers: table.specs, blockBytes: memory.bytes, literals: table.literals(), panels: table.panels,
    fetches: new Map([...fused.fetches].map(([name, { shape }]) => [name, shape])),
  };
}

/** Stands for the copies at the end: it keeps what they read. */
function endOf(values: readonly Value[]): Node {
  return { kernel: 'End', inputs: values, outputs: [], attributes: {} };
}

interface Whereabouts {
  layouts: Layouts;
  home(root: Value): Home | undefined;
  offset(root: Value): number | undefined;
}

function placesOf({ layouts, home, offset }: Whereabouts, table: BufferTable, { nodes, fused, layOutWeights }: { nodes: readonly Node[]; fused: Trace; layOutWeights: boolean }): Places {
  const read = new Set([...nodes.flatMap(({ inputs }) => inputs), ...fused.fetches.values(), ...fused.updates.values()]);
  const rootOperand = (root: Value): Operand => {
    const at = home(root);
    if (at) return { buffer: table.number(at), bytes: 0 };
    if (root.source?.kind === 'literal') return table.literal(root);
    if (root.source) return { buffer: table.number(root.source), bytes: 0 };
    const bytes = offset(root);
    if (bytes === undefined) throw new Error(`value ${root.id} has no place`);
    return { buffer: table.number({ kind: 'block' }), bytes };
  };
  const anyOperand = (value: Value) => {
    const { root, offset: elements } = layouts(value);
    const isByte = root.source?.kind === 'feed' && root.dtype === 'bool';
    const { buffer, bytes } = rootOperand(root);
    return { operand: { buffer, bytes: bytes + elements * (isByte ? 1 : 4) }, isByte };
  };
  return {
    layout: layouts, anyOperand,
    operand(value) {
      const { operand, isByte } = anyOperand(value);
      if (isByte) throw new UserError({ what: 'a mask is read by something other than element-wise operations', where: 'engine native', remedy: 'Use the engine "graph" or "wasm" for this method.' });
      return operand;
    },
    isRead: value => read.has(value),
    panels(weight, shape) {
      const { root, offset: elements } = layouts(weight);
      return layOutWeights && root.source?.kind === 'constant' ? table.panelsOf(root.source.name, elements, shape) : null;
    },
  };
}

/** The buffers of a program, numbered as they are first named. */
class BufferTable {
  readonly specs: BufferSpec[] = [];
  readonly panels = new Map<string, Panels>();
  private readonly numbers = new Map<string, number>();
  private readonly literalPlaces = new Map<Value, number>();
  private readonly numbersOfLiterals: number[] = [];

  number(spec: BufferSpec | Home): number {
    const key = JSON.stringify([spec.kind, 'name' in spec ? spec.name : '']);
    if (!this.numbers.has(key)) {
      this.numbers.set(key, this.specs.length);
      this.specs.push('name' in spec ? { kind: spec.kind, name: spec.name } : spec);
    }
    return this.numbers.get(key)!;
  }

  /** All elements of a literal, of one value too. */
  literal(value: Value): Operand {
    if (value.source?.kind !== 'literal') throw new Error('not a literal');
    if (!this.literalPlaces.has(value)) {
      this.literalPlaces.set(value, this.numbersOfLiterals.length * 4);
      const { data, uniform } = value.source;
      for (let i = 0; i < sizeOf(value.shape); i++) this.numbersOfLiterals.push(uniform ?? data[i]!);
    }
    return { buffer: this.number({ kind: 'literals' }), bytes: this.literalPlaces.get(value)! };
  }

  literals(): Float32Array {
    return Float32Array.from(this.numbersOfLiterals);
  }

  panelsOf(weight: string, offset: number, shape: PanelShape): Operand {
    const name = JSON.stringify([weight, offset, shape.row, shape.column, shape.n, shape.k]);
    if (!this.panels.has(name)) {
      const words = packInstruction({ buffer: 0, bytes: offset * 4 }, shape, { buffer: 1, bytes: 0 });
      this.panels.set(name, { weight, bytes: panelBytes(shape), words: Float64Array.from(words) });
    }
    return { buffer: this.number({ kind: 'panels', name }), bytes: 0 };
  }
}

/** Panels are as wide as two vectors, the widest of which have 16 numbers. */
function panelBytes({ n, k }: PanelShape): number {
  return 4 * Math.ceil(n / 32) * 32 * k;
}

