/**
 * Bottleneck adapters, which several methods are forms of:
 *
 *   D(x) = s * (W_up Dropout(f(W_down x + b_down)) + b_up)
 *
 * A form says where D stands, what it reads, how it starts and how often drop path acts. With h the residual stream, F the
 * sub-layer (attention or MLP) with its LayerNorm N, LS its LayerScale and DP drop path (arXiv 2409.16434; study.md 1.2, 1.3):
 *
 *   parallel, twice   h + DP(LS(F(N h))) + DP'(LS(D(x)))    x = h, or N h where the input is normalised
 *   parallel, once    h + DP(LS(F(N h))) + D(x)
 *   before            h + DP(LS(F(N h + D(N h))))
 *   after, twice      y = DP(LS(F(N h)));  h + DP'(LS(y + D(y)))
 *   after, once       y = F(N h);          h + DP(LS(y + D(y)))
 *
 * In `after, twice` LayerScale acts a second time too, so that on backbones which have it (DINOv2) no start is the identity.
 *
 * A module has 2 D r + r + D parameters (+ 1 with a learned scale), D the width and r the bottleneck.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../common/trial';
import { tf } from '../engine/tfjs';
import { gelu, linear } from '../vit/operations';
import type { Branch, HookContext, Hooks, Initializer, LinearSite, Method, TensorDeclaration } from './method';

export const adapterInitializers = ['reset', 'kaiming', 'xavier', 'xavier-both', 'near-zero', 'half-zero'] as const;

/**
 * First values of W_down, W_up; biases are 0 unless said otherwise.
 * reset: both N(0, 0.02^2). kaiming: U(+-1 / sqrt(D)), 0. xavier: Xavier's uniform, 0. xavier-both: Xavier's uniform both,
 * biases N(0, 1e-6^2). near-zero: both N(0, 0.01^2), cut off at two deviations. half-zero: 0, U(+-1 / sqrt(r)), with
 * b_down ~ U(+-1 / sqrt(D)).
 */
export type AdapterInitializer = typeof adapterInitializers[number];

export interface AdapterForm {
  /** Sub-layers that have an adapter. */
  branches: readonly Branch[];
  position: 'parallel' | 'before' | 'after';
  /** What a parallel adapter reads. */
  input: 'residual' | 'normalized';
  bottleneck: number;
  scale: number;
  /** The scale trains, from `scale` on. */
  learnableScale: boolean;
  dropout: number;
  activation: 'relu' | 'gelu';
  initializer: AdapterInitializer;
  dropPath: 'once' | 'twice';
}

/** What the contract asks for of a method that is a form of this. */
export function bottleneckAdapter<Options>(formOf: (options: Options) => AdapterForm): Pick<Required<Method<Options>>, 'trains' | 'tensors' | 'identityAtStart' | 'act' | 'interpolation'> {
  return {
    trains: [{ pattern: /^/, train: false }],
    tensors: (architecture, options) => declareTensors(architecture, formOf(options)),
    identityAtStart: options => identityOf(formOf(options)),
    act: hooksOf(formOf),
    interpolation: { kind: 'module' },
  };
}

/** L k (2 D r + r + D), + L k with learned scales, k the number of branches. */
export function countAdapters({ depth, width }: Architecture, { bottleneck, branches, learnableScale }: AdapterForm): number {
  return depth * inOrder(branches).length * (2 * width * bottleneck + bottleneck + width + Number(learnableScale));
}

/** Names as in the study's code: `blocks.<i>.ft_attn_module`, `blocks.<i>.ft_mlp_module`. */
function declareTensors({ depth, width }: Architecture, form: AdapterForm): TensorDeclaration[] {
  const { bottleneck, branches, learnableScale, scale } = form;
  const initial = initializers(form.initializer, width, bottleneck);
  return Array.from({ length: depth }, (_, block) => inOrder(branches).map(branch => tensorNames(block, branch))).flat().flatMap((names): TensorDeclaration[] => [
    { name: names.downWeight, shape: [bottleneck, width], initial: initial.downWeight },
    { name: names.downBias, shape: [bottleneck], initial: initial.downBias },
    { name: names.upWeight, shape: [width, bottleneck], initial: initial.upWeight, neutral: 0 },
    { name: names.upBias, shape: [width], initial: initial.upBias, neutral: 0 },
    ...learnableScale ? [{ name: names.scale, shape: [1], initial: { kind: 'constant', value: scale } } satisfies TensorDeclaration] : [],
  ]);
}

function hooksOf<Options>(formOf: (options: Options) => AdapterForm): Hooks<Options> {
  return {
    linearInput(x, site, context) {
      const form = formOf(context.options);
      const branch = branchWhose('first', site, form);
      return branch && form.position === 'before' ? tf.add(x, delta(x, branch, form, context)) : x;
    },
    linearOutput(y, _, site, context) {
      const form = formOf(context.options);
      const branch = branchWhose('last', site, form);
      return branch && form.position === 'after' && form.dropPath === 'once' ? tf.add(y, delta(y, branch, form, context)) : y;
    },
    branchOutput(y, inputs, branch, context) {
      const form = formOf(context.options);
      if (!form.branches.includes(branch)) return y;
      const dropped = (x: Tensor) => context.dropPath(context.layerScale(x, branch), moduleNames[branch]);
      if (form.position === 'parallel') {
        const own = delta(inputs[form.input], branch, form, context);
        return tf.add(y, form.dropPath === 'twice' ? dropped(own) : own);
      }
      return form.position === 'after' && form.dropPath === 'twice' ? dropped(tf.add(y, delta(y, branch, form, context))) : y;
    },
  };
}

/** True, or why a model with these adapters does not start as the frozen backbone (which is taken to have no LayerScale). */
function identityOf({ initializer }: AdapterForm): true | string {
  switch (initializer) {
    case 'reset': return 'the study starts the weights at N(0, 0.02^2)';
    case 'kaiming': case 'xavier': return true;
    case 'xavier-both': return 'both weights start at random (Xavier)';
    case 'near-zero': return 'the weights start near zero, at N(0, 0.01^2)';
    case 'half-zero': return 'W_up and b_down start at random';
    default: return initializer satisfies never;
  }
}

/** D(x): [rows, width] -> [rows, width]. */
function delta<Options>(x: Tensor, branch: Branch, { dropout, activation, learnableScale, scale }: AdapterForm, context: HookContext<Options>): Tensor {
  const { block, tensor } = context;
  const names = tensorNames(block, branch);
  const low = linear(x, tensor(names.downWeight), tensor(names.downBias)); // [rows, bottleneck]
  const active = activation === 'relu' ? tf.relu(low) : gelu(low);
  const up = linear(context.dropout(active, dropout, moduleNames[branch]), tensor(names.upWeight), tensor(names.upBias));
  if (learnableScale) return tf.mul(up, tensor(names.scale));
  return scale === 1 ? up : tf.mul(up, scale);
}

const moduleNames = { attention: 'ft_attn_module', mlp: 'ft_mlp_module' } satisfies Record<Branch, string>;
const linears = { attention: { first: 'qkv', last: 'proj' }, mlp: { first: 'fc1', last: 'fc2' } } satisfies Record<Branch, Record<'first' | 'last', LinearSite>>;

/** The adapted sub-layer that starts or ends with this linear layer. */
function branchWhose(end: 'first' | 'last', site: LinearSite, { branches }: AdapterForm): Branch | undefined {
  return branches.find(branch => linears[branch][end] === site);
}

function inOrder(branches: readonly Branch[]): Branch[] {
  return (['attention', 'mlp'] as const).filter(branch => branches.includes(branch));
}

function initializers(initializer: AdapterInitializer, width: number, bottleneck: number): Record<'downWeight' | 'downBias' | 'upWeight' | 'upBias', Initializer> {
  const zero: Initializer = { kind: 'constant', value: 0 };
  const xavier: Initializer = { kind: 'uniform', limit: Math.sqrt(6 / (width + bottleneck)) };
  const kaiming: Initializer = { kind: 'uniform', limit: 1 / Math.sqrt(width) };
  const weights = (downWeight: Initializer, upWeight: Initializer) => ({ downWeight, downBias: zero, upWeight, upBias: zero });
  switch (initializer) {
    case 'reset': return weights({ kind: 'normal', std: 0.02 }, { kind: 'normal', std: 0.02 });
    case 'kaiming': return weights(kaiming, zero);
    case 'xavier': return weights(xavier, zero);
    case 'xavier-both': return { ...weights(xavier, xavier), downBias: { kind: 'normal', std: 1e-6 }, upBias: { kind: 'normal', std: 1e-6 } };
    case 'near-zero': return weights({ kind: 'normal', std: 0.01, cutoff: 2 }, { kind: 'normal', std: 0.01, cutoff: 2 });
    case 'half-zero': return { ...weights(zero, { kind: 'uniform', limit: 1 / Math.sqrt(bottleneck) }), downBias: kaiming };
    default: return initializer satisfies never;
  }
}

function tensorNames(block: number, branch: Branch) {
  const module = `blocks.${block}.${moduleNames[branch]}`;
  return {
    downWeight: `${module}.down_proj.weight`, downBias: `${module}.down_proj.bias`,
    upWeight: `${module}.up_proj.weight`, upBias: `${module}.up_proj.bias`, scale: `${module}.scale`,
  };
}
