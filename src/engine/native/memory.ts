/** One block of memory for everything that a list of nodes makes: values that are never there together share bytes. */
import type { Node, Value } from '../graph/nodes';
import { sizeOf } from '../graph/nodes';
import type { Layouts } from './layout';

/** 64 bytes: the widest vector, and a line of the cache. */
const alignment = 64;

export interface Memory {
  /** Bytes from the block's beginning, for the roots that lie in it. */
  offsets: Map<Value, number>;
  bytes: number;
}

/** Places in the block for all values that nodes make, but for those that lie elsewhere. */
export function planMemory(nodes: readonly Node[], layouts: Layouts, isElsewhere: (root: Value) => boolean): Memory {
  const lives = livesOf(nodes, layouts, isElsewhere);
  const offsets = new Map<Value, number>();
  const placed: Life[] = [];
  let bytes = 0;
  for (const life of [...lives.values()].sort((a, b) => b.bytes - a.bytes || a.from - b.from)) {
    const offset = lowestGap(life, placed.filter(other => other.from <= life.until && life.from <= other.until), offsets);
    offsets.set(life.root, offset);
    placed.push(life);
    bytes = Math.max(bytes, offset + life.bytes);
  }
  return { offsets, bytes };
}

/** From the node that first writes to a root to the last that reads of it. */
interface Life {
  root: Value;
  bytes: number;
  from: number;
  until: number;
}

function livesOf(nodes: readonly Node[], layouts: Layouts, isElsewhere: (root: Value) => boolean): Map<Value, Life> {
  const lives = new Map<Value, Life>();
  nodes.forEach(({ inputs, outputs }, at) => {
    for (const value of [...inputs, ...outputs]) {
      const { root } = layouts(value);
      if (root.source || isElsewhere(root)) continue;
      const life = lives.get(root) ?? { root, bytes: Math.ceil(sizeOf(root.shape) * 4 / alignment) * alignment, from: at, until: at };
      lives.set(root, { ...life, until: at });
    }
  });
  return lives;
}

function lowestGap({ bytes }: Life, beside: readonly Life[], offsets: Map<Value, number>): number {
  const taken = beside.map(({ root, bytes: size }) => ({ start: offsets.get(root)!, end: offsets.get(root)! + size })).sort((a, b) => a.start - b.start);
  let at = 0;
  for (const { start, end } of taken) {
    if (start - at >= bytes) break;
    at = Math.max(at, end);
  }
  return at;
}
