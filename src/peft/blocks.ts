/** The choice of blocks on which a method acts, one of its options. */
import { z } from 'zod';
import type { Architecture } from '../common/trial';

export interface BlockChoice {
  /** Indices, 0 first, negative ones from the end; null for all. */
  blocks: readonly number[] | null;
}
type Depth = Pick<Architecture, 'depth'>;

/** `what` begins its description: "Indices of the blocks that are adapted". */
export function blocksOption(what: string) {
  return z.array(z.int()).min(1).nullable().default(null).describe(`${what}, 0 first; negative ones count from the end; null: all.`);
}

/** What is wrong with the choice on this backbone; null when nothing is. */
export function refusesBlocks({ depth }: Depth, { blocks }: BlockChoice): string | null {
  const strange = blocks?.find(block => block < -depth || block >= depth);
  return strange === undefined ? null : `there is no block ${strange}: it has ${depth}, 0 to ${depth - 1}, or -${depth} to -1 from the end`;
}

/** Indices of the chosen blocks, rising. */
export function chosenBlocks(architecture: Depth, choice: BlockChoice): number[] {
  return Array.from({ length: architecture.depth }, (_, block) => block).filter(block => isChosen(block, architecture, choice));
}

export function isChosen(block: number, { depth }: Depth, { blocks }: BlockChoice): boolean {
  return blocks === null || blocks.includes(block) || blocks.includes(block - depth);
}
