/**
 * Updates of all linear layers of all blocks through two factors that they share, and small cores of their own:
 *
 *   dW = s * V S U,   U [r, D], V [D, r]
 *
 * Every weight is seen as matrices of D x D: qkv as three, proj as one, fc1 as m of them over each other and fc2 as m side
 * by side, m = hidden / D. S is the core of each such matrix; dropout acts between S and V. A method says where cores come from.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { tf } from '../engine/tfjs';
import { linearPath } from '../vit/architecture';
import { linear } from '../vit/operations';
import { product } from './matrices';
import type { FoldInput, HookContext, Hooks, Initializer, LinearSite, TensorDeclaration } from './method';

export const blockSites = ['qkv', 'proj', 'fc1', 'fc2'] as const satisfies readonly LinearSite[];
export type BlockSite = typeof blockSites[number];

export interface SharedFactorOptions {
  rank: number;
  scale: number;
  dropout: number;
  variant: 'study' | 'original';
}

/** Names in the study's code. */
export const sharedFactors = { path: 'blocks.0.attn.fact', u: 'blocks.0.attn.fact.FacTu.weight', v: 'blocks.0.attn.fact.FacTv.weight' };

export const sharedFactorOptions = {
  dropout: z.number().min(0).lt(1).default(0.1).describe('Dropout between the core and the last factor.'),
  variant: z.enum(['study', 'original']).default('study').describe('study: the shared factors start at random; original: V = 0, the identity at the start.'),
};

/** What is wrong with this backbone; null when nothing is. */
export function refusesSharedFactors({ hidden, width }: Architecture): string | null {
  return hidden % width ? `its MLP's width ${hidden} is no multiple of its width ${width}, so that it cannot be cut into square matrices` : null;
}

export function sharedFactorTensors({ width }: Architecture, { rank, variant }: Pick<SharedFactorOptions, 'rank' | 'variant'>): TensorDeclaration[] {
  const original = { u: { kind: 'uniform', limit: 1 / Math.sqrt(width) }, v: { kind: 'constant', value: 0 } } satisfies Record<string, Initializer>;
  const initial = variant === 'study' ? { u: reset, v: reset } : original;
  return [
    { name: sharedFactors.u, shape: [rank, width], initial: initial.u },
    { name: sharedFactors.v, shape: [width, rank], initial: initial.v, neutral: 0 },
  ];
}

/** What the study's constructor leaves in every linear layer (study.md 0.10). */
export const reset: Initializer = { kind: 'normal', std: 0.02 };

/** How many square matrices a layer's weight is. */
export function squareCount(site: BlockSite, { hidden, width }: Architecture): number {
  return site === 'qkv' ? 3 : site === 'proj' ? 1 : hidden / width;
}

/** `coreOf` gives a layer's cores as a linear weight: [k r, r], for fc2 [r, k r], k = squareCount. */
export function sharedFactorHooks<Options extends SharedFactorOptions>(
  coreOf: (site: BlockSite, context: HookContext<Options>) => Tensor,
): Hooks<Options> {
  return {
    linearOutput(y, x, site, context) {
      if (site === 'patch_embed') return y;
      const { options: { dropout, rank, scale }, tensor } = context;
      const mixed = linear(projected(x, site, tensor(sharedFactors.u)), coreOf(site, context)); // [rows, k r], for fc2 [rows, r]
      const dropped = context.dropout(mixed, dropout, `fact.${site}`);
      const out = linear(tf.reshape(dropped, [-1, rank]), tensor(sharedFactors.v)); // [rows * k, width]
      return tf.add(y, tf.reshape(scale === 1 ? out : tf.mul(out, scale), y.shape));
    },
  };
}

/** U x: [rows, r]; of fc2's input each chunk of the width by itself: [rows, k r]. */
function projected(x: Tensor, site: BlockSite, u: Tensor): Tensor {
  if (site !== 'fc2') return linear(x, u);
  const [rank, width] = u.shape as [number, number];
  return tf.reshape(linear(tf.reshape(x, [-1, width]), u), [x.shape[0]!, x.shape[1]! / width * rank]);
}

/** `coreOf` as for the hooks, on the host. */
export function foldSharedFactors(
  { architecture, base, trained }: FoldInput, options: SharedFactorOptions, coreOf: (site: BlockSite, block: number) => Float32Array,
): Record<string, Float32Array> {
  const { depth, width } = architecture, { rank, scale } = options;
  const [u, v] = [trained(sharedFactors.u), trained(sharedFactors.v)];
  return Object.fromEntries(Array.from({ length: depth }, (_, block) => blockSites.map(site => {
    const name = `${linearPath(site, block)}.weight`, weight = Float32Array.from(base(name));
    const core = coreOf(site, block), count = squareCount(site, architecture);
    for (let k = 0; k < count; k++) {
      const own = site === 'fc2' ? columns(core, rank, { first: k * rank, count: rank }) : core.subarray(k * rank * rank, (k + 1) * rank * rank);
      const left = product(v, own, { rows: width, inner: rank, columns: rank });
      const square = product(left, u, { rows: width, inner: rank, columns: width });
      addSquare(weight, square, { scale, width, stride: site === 'fc2' ? count * width : width, offset: site === 'fc2' ? k * width : k * width * width });
    }
    return [name, weight] as const;
  })).flat());
}

function columns(matrix: Float32Array, rows: number, { first, count }: { first: number; count: number }): Float32Array {
  const stride = matrix.length / rows;
  return Float32Array.from({ length: rows * count }, (_, i) => matrix[Math.floor(i / count) * stride + first + i % count]!);
}

function addSquare(target: Float32Array, square: Float32Array, { scale, width, stride, offset }: { scale: number; width: number; stride: number; offset: number }): void {
  for (let row = 0; row < width; row++) {
    for (let column = 0; column < width; column++) target[offset + row * stride + column]! += scale * square[row * width + column]!;
  }
}
