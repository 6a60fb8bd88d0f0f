/**
 * Interventions on representations (ReFT, Wu et al., arXiv 2404.03592): behind chosen blocks the stream h of chosen tokens is
 * overwritten by h + an edit of low rank. A method says what the edit is; here is where it acts.
 *
 * In an image the class token stands for the paper's first positions. Tokens that other methods add are left alone. Tied, all
 * chosen tokens of a block share one intervention; else the class token has one of its own. Behind the last block patches have
 * none of their own, since the classifier reads the class token there.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { permutation, streamKey } from '../common/random';
import type { Architecture } from '../common/trial';
import { tf } from '../engine/tfjs';
import { gridSide } from '../vit/architecture';
import { type BlockChoice, blocksOption, chosenBlocks, isChosen, refusesBlocks } from './blocks';
import type { HookContext, Hooks } from './method';

export const interventionOptions = {
  rank: z.int().positive().default(4).describe('Rank of the edits.').meta({ search: [1, 4, 8] }),
  positions: z.enum(['class', 'patches', 'all', 'class+first', 'class+random']).default('all')
    .describe('Tokens that are edited: the class token, the patches, all; or the class token with the first, or with random, `patches` of them.'),
  patches: z.int().positive().default(16).describe('How many patches are edited where positions say first or random; all where the image has fewer.'),
  tied: z.boolean().default(true).describe('The class token shares its intervention with the patches.'),
  blocks: blocksOption('Blocks behind which tokens are edited'),
  dropout: z.number().min(0).lt(1).default(0).describe('Dropout on edited tokens.'),
};

export interface InterventionOptions extends BlockChoice {
  rank: number;
  positions: 'class' | 'patches' | 'all' | 'class+first' | 'class+random';
  patches: number;
  tied: boolean;
  dropout: number;
}

/** What is wrong with the options on this backbone; null when nothing is. */
export function refusesInterventions(architecture: Architecture, options: InterventionOptions): string | null {
  const { rank } = options, { width } = architecture;
  const refused = refusesBlocks(architecture, options);
  if (refused) return refused;
  if (!interventionPaths(architecture, options, '').length) return 'behind the last block only the class token can be edited';
  return rank > width ? `rank ${rank} is beyond its width ${width}` : null;
}

/** Where tensors of one intervention are: `blocks.<i>.<name>`, with `.class` and `.patches` where they are not tied. */
export function interventionPaths(architecture: Pick<Architecture, 'depth'>, options: InterventionOptions, name: string): string[] {
  return chosenBlocks(architecture, options).flatMap(block => groupsOf(block, architecture.depth, options).map(group => pathOf(block, group, name)));
}

/** `edit` gets the chosen rows [rows, width] and the path of their intervention, and returns what they become. */
export function interventionHooks<Options extends InterventionOptions>(
  name: string, edit: (h: Tensor, path: string, context: HookContext<Options>) => Tensor,
): Hooks<Options> {
  return {
    blockOutput(x, context) {
      const { options, architecture, block, batch } = context;
      const groups = groupsOf(block, architecture.depth, options);
      if (!groups.length || !isChosen(block, architecture, options)) return x;
      const image = gridSide(architecture) ** 2 + 1, tokens = x.shape[0]! / batch;
      const parts = groups.map(group => ({ group, ...rangeOf(group, options, image) }));
      const edited = parts.map(({ group, first, end }) => {
        const own = tokenRows(x, first, end, batch), path = pathOf(block, group, name);
        const changed = context.dropout(edit(own, path, context), options.dropout, `${name}.${group}`);
        return options.positions === 'class+random' && group !== 'class' ? onlyRandom(changed, own, { first, image, batch, patches: options.patches }) : changed;
      });
      const [start, stop] = [parts[0]!.first, parts.at(-1)!.end];
      const around = [...start > 0 ? [tokenRows(x, 0, start, batch)] : [], ...edited, ...stop < tokens ? [tokenRows(x, stop, tokens, batch)] : []];
      return around.length > 1 ? tf.concat(around, 0) : around[0]!;
    },
  };
}

/** Rows of a matrix [r, D] made orthonormal, one after the other (Gram and Schmidt). */
export function orthonormalRows(matrix: Tensor): Tensor {
  const rows: Tensor[] = [];
  for (const row of tf.split(matrix, matrix.shape[0]!, 0)) { // [1, D] each
    const before = rows.length ? tf.concat(rows, 0) as tf.Tensor2D : null;
    const rest = before ? tf.sub(row, tf.matMul(tf.matMul(row as tf.Tensor2D, before, false, true), before)) : row;
    rows.push(tf.mul(rest, tf.rsqrt(tf.sum(tf.square(rest)))));
  }
  return rows.length > 1 ? tf.concat(rows, 0) : rows[0]!;
}

/** The same on the host, in double precision. */
export function orthonormalRowsOf(matrix: ArrayLike<number>, rows: number): Float64Array {
  const width = matrix.length / rows, result = Float64Array.from(matrix);
  for (let i = 0; i < rows; i++) {
    const own = result.subarray(i * width, (i + 1) * width);
    for (let j = 0; j < i; j++) {
      const other = result.subarray(j * width, (j + 1) * width), overlap = own.reduce((sum, x, k) => sum + x * other[k]!, 0);
      own.forEach((x, k) => { own[k] = x - overlap * other[k]!; });
    }
    const length = Math.sqrt(own.reduce((sum, x) => sum + x * x, 0));
    own.forEach((x, k) => { own[k] = x / length; });
  }
  return result;
}

type Group = 'tied' | 'class' | 'patches';

function groupsOf(block: number, depth: number, { positions, tied }: InterventionOptions): Group[] {
  const isLast = block === depth - 1;
  if (positions === 'patches') return isLast ? [] : ['tied'];
  if (positions === 'class' || tied) return ['tied'];
  return isLast ? ['class'] : ['class', 'patches'];
}

/** Tokens [first, end) among those of the image. */
function rangeOf(group: Group, { positions, patches }: InterventionOptions, image: number): { first: number; end: number } {
  const end = positions === 'class+first' ? Math.min(1 + patches, image) : image;
  if (group === 'class' || positions === 'class') return { first: 0, end: 1 };
  return { first: group === 'patches' || positions === 'patches' ? 1 : 0, end };
}

/** Tokens that were drawn are changed, the others left; the class token, where it is among them, is changed. */
function onlyRandom(changed: Tensor, own: Tensor, { first, image, batch, patches }: { first: number; image: number; batch: number; patches: number }): Tensor {
  const drawn = new Set(permutation(streamKey(0, 'random patches'), image - 1).slice(0, patches));
  const mask = Float32Array.from({ length: image - first }, (_, i) => Number(first + i === 0 || drawn.has(first + i - 1)));
  const rows = tf.reshape(tf.mul(tf.reshape(tf.tensor1d(mask), [-1, 1]), tf.ones([1, batch])), [mask.length * batch, 1]);
  return tf.add(own, tf.mul(tf.sub(changed, own), rows));
}

function tokenRows(x: Tensor, first: number, end: number, batch: number): Tensor {
  return first === 0 && end * batch === x.shape[0] ? x : tf.slice(x as tf.Tensor2D, [first * batch, 0], [(end - first) * batch, x.shape[1]!]);
}

function pathOf(block: number, group: Group, name: string): string {
  return `blocks.${block}.${name}${group === 'tied' ? '' : `.${group}`}`;
}
