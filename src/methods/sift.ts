/**
 * SIFT: a few elements of each weight train, chosen by their gradients before the training begins. Song et al., Sparse is Enough in
 * Fine-tuning Pre-trained Large Language Models, arXiv 2312.11875.
 *
 *   W' = W + S(d),   d [k],   k = min(floor(rate * n) + 1, n) for a weight of n elements
 *
 * where S puts the increments d at the k elements whose gradient on the first batch is largest. q, k and v choose each for itself,
 * though they lie in one tensor. Gradients are taken at the start, without dropout and drop path; that batch trains afterwards as any
 * other does. Increments start at 0 and do not decay: in the released code, where they are added to W and begin at 0 again in every
 * step, decay does nothing either. Alternatives of the paper's ablation: the largest weights, or random elements.
 *
 * Parameters: the sum of k; the optimiser's moments are of that size too. Fold: the weight is W', exactly. Indices count in the flat
 * weight, row-major, and are part of the adapter.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Architecture } from '../common/trial';
import { defineMethod, type FoldInput, type HookContext, type InitialInput, type LinearSite, type TensorDeclaration } from '../peft/method';
import { linearPath, weightShape } from '../vit/architecture';
import { addAtIndices } from '../vit/operations';

const targets = ['q', 'k', 'v', 'proj', 'fc1', 'fc2'] as const;
const thirds: readonly string[] = ['q', 'k', 'v'];

const options = z.strictObject({
  rate: z.number().positive().max(1).default(0.008).describe('Share of each weight\'s elements that train.').meta({ search: [0.002, 0.008, 0.05] }),
  targets: z.array(z.enum(targets)).min(1).default([...targets]).describe('Which linear layers of each block are adapted.'),
  selection: z.enum(['gradient', 'weight', 'random']).default('gradient').describe('Which elements: those with the largest gradients, the largest weights, or any.'),
  selectionBatches: z.int().positive().default(1).describe('Over how many of the first batches the gradients that select are summed.'),
});
type Options = z.output<typeof options>;

export default defineMethod({
  title: 'SIFT',
  summary: 'Single elements of weights, those with the largest gradients at the start.',
  paper: { title: 'Sparse is Enough in Fine-tuning Pre-trained Large Language Models', url: 'https://arxiv.org/abs/2312.11875' },
  version: 1,
  options,
  page: {
    kind: 'sparse',
    equations: ['W\' = W + S(d), S puts d [k] where |dL/dW| on the first batch is largest', 'k = min(floor(rate n) + 1, n) for a weight of n elements'],
    parameters: {
      formula: '(4 (floor(rate D^2) + 1) + 2 (floor(rate m D^2) + 1)) L',
      count: (architecture, options) => {
        const { depth, width, hidden } = architecture;
        const sizes: Record<typeof targets[number], number> = { q: width ** 2, k: width ** 2, v: width ** 2, proj: width ** 2, fc1: hidden * width, fc2: hidden * width };
        return depth * [...new Set(options.targets)].reduce((sum, target) => sum + chosenOf(sizes[target], options), 0);
      },
    },
    findings: 'Not part of the study. Its paper finds it level with LoRA at equal size on GLUE and on MMLU, and ahead of random elements when few train.',
    checkedAgainst: ['PyTorch'],
  },
  trains: [{ pattern: /^/, train: false }],
  refuses(architecture, options) {
    const large = sites(options).find(site => elements(site, architecture) > 2 ** 24);
    return large ? `${linearPath(large, 0)} has ${elements(large, architecture)} weights, and it can number no more than ${2 ** 24}` : null;
  },
  tensors: declare,
  identityAtStart: () => true,
  act: { linearWeight: (weight, site, context) => (sites(context.options).includes(site) ? adapted(weight, site, context) : weight) },
  fold,
  interpolation: { kind: 'weights' },
});

function declare(architecture: Architecture, options: Options): TensorDeclaration[] {
  return layers(architecture, options).flatMap(({ site, block }): TensorDeclaration[] => {
    const weight = `${linearPath(site, block)}.weight`, { values, indices } = tensorNames(site, block);
    const parts = slices(site, architecture, options);
    const shape = [parts.reduce((sum, { length }) => sum + chosenOf(length, options), 0)];
    return [
      { name: values, shape, initial: { kind: 'constant', value: 0 }, neutral: 0, decay: false },
      {
        name: indices, shape, fixed: true,
        initial: {
          kind: 'computed', gradients: options.selection === 'gradient' ? [weight] : [], gradientBatches: options.selectionBatches,
          values(input) {
            const scores = scoresOf(weight, options, input);
            return parts.flatMap(({ start, length }) => largest(scores.subarray(start, start + length), chosenOf(length, options)).map(index => start + index));
          },
        },
      },
    ];
  });
}

/** How much each element of a weight deserves to train, by absolute value. */
function scoresOf(weight: string, { selection }: Options, { base, gradient, normals }: InitialInput): Float32Array {
  switch (selection) {
    case 'gradient': return gradient(weight);
    case 'weight': return base(weight);
    case 'random': return normals(base(weight).length);
    default: return selection satisfies never;
  }
}

/** How many of so many elements train. */
function chosenOf(length: number, { rate }: Options): number {
  return Math.min(Math.floor(rate * length) + 1, length);
}

/** weight [out, in] with the layer's increments. */
function adapted(weight: Tensor, site: LinearSite, { block, tensor }: HookContext<Options>): Tensor {
  const { values, indices } = tensorNames(site, block);
  return addAtIndices(weight, tensor(indices), tensor(values));
}

function fold({ architecture, base, trained }: FoldInput, options: Options): Record<string, Float32Array> {
  return Object.fromEntries(layers(architecture, options).map(({ site, block }) => {
    const name = `${linearPath(site, block)}.weight`, names = tensorNames(site, block);
    const weight = Float32Array.from(base(name)), values = trained(names.values);
    trained(names.indices).forEach((index, i) => { weight[index]! += values[i]!; });
    return [name, weight];
  }));
}

function layers({ depth }: Architecture, options: Options): { site: LinearSite; block: number }[] {
  return Array.from({ length: depth }, (_, block) => sites(options).map(site => ({ site, block }))).flat();
}

function sites(options: Options): LinearSite[] {
  const isTarget = (site: LinearSite) => options.targets.some(target => (thirds.includes(target) ? site === 'qkv' : site === target));
  return (['qkv', 'proj', 'fc1', 'fc2'] as const).filter(isTarget);
}

/** The ranges of a layer's flat weight that choose their elements each for itself: thirds of qkv, or the whole. */
function slices(site: LinearSite, architecture: Architecture, { targets }: Options): { start: number; length: number }[] {
  const whole = elements(site, architecture);
  if (site !== 'qkv') return [{ start: 0, length: whole }];
  return thirds.flatMap((third, i) => ((targets as readonly string[]).includes(third) ? [{ start: i * whole / 3, length: whole / 3 }] : []));
}

function elements(site: LinearSite, architecture: Architecture): number {
  const [outputs, inputs] = weightShape(site, architecture);
  return outputs * inputs;
}

function tensorNames(site: LinearSite, block: number): { values: string; indices: string } {
  const path = `${linearPath(site, block)}.sift`;
  return { values: `${path}.values`, indices: `${path}.indices` };
}

/** Indices of the `count` values largest in magnitude, rising; of equal ones the first. Plain loops: a backbone has many millions. */
function largest(values: Float32Array, count: number): number[] {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length).map(word => word & 0x7fffffff); // in the order of the magnitudes
  const threshold = nthLargest(bits, count);
  let equal = count;
  for (const value of bits) if (value > threshold) equal--;
  const chosen: number[] = [];
  for (let i = 0; i < bits.length; i++) if (bits[i]! > threshold || (bits[i] === threshold && equal-- > 0)) chosen.push(i);
  return chosen;
}

/** The count-th largest of whole numbers below 2^31, by their upper halves and then the lower ones of those that share it. */
function nthLargest(numbers: Uint32Array, count: number): number {
  const uppers = new Uint32Array(2 ** 16), lowers = new Uint32Array(2 ** 16);
  for (const number of numbers) uppers[number >>> 16]!++;
  const upper = binOf(uppers, count);
  for (const number of numbers) if (number >>> 16 === upper.bin) lowers[number & 0xffff]!++;
  return upper.bin * 2 ** 16 + binOf(lowers, upper.left).bin;
}

/** The bin of a histogram in which the count-th largest lies, and how many of that bin are wanted. */
function binOf(histogram: Uint32Array, count: number): { bin: number; left: number } {
  let bin = histogram.length - 1, left = count;
  while (bin > 0 && histogram[bin]! < left) left -= histogram[bin--]!;
  return { bin, left };
}
