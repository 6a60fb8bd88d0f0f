/** A method's hooks bound to one step: its tensors, its options, and where its random masks come from. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../common/trial';
import { tf } from '../engine/tfjs';
import type { ForwardHooks, Place } from '../vit/forward';
import { applyMask } from '../vit/operations';
import type { HookContext, Method } from './method';

export interface BindOptions {
  method: Method;
  options: Record<string, unknown>;
  architecture: Architecture;
  batch: number;
  /** Any tensor by name: the method's own or the backbone's. */
  tensor(name: string): Tensor;
  /** Outside training there is no dropout and no drop path. */
  training: TrainingNoise | null;
}

export interface TrainingNoise {
  /** Whether the dropout that methods bring with them acts. */
  dropout: boolean;
  /** Drop path rate at the last block; it grows linearly from 0 at the first. */
  dropPath: number;
  /** The mask asked for, bool; null leaves the values as they are. */
  mask(request: MaskRequest): Tensor | null;
}

/** A random mask that a training program takes as a feed: 1 keeps; an element is dropped at `rate`. */
export interface MaskRequest {
  name: string;
  shape: readonly number[];
  rate: number;
}

export function bindMethod(bind: BindOptions): ForwardHooks {
  const { act = {} } = bind.method;
  const context = (at: Place) => hookContext(bind, at);
  const { attentionScores } = act;
  return {
    inputTokens: at => act.inputTokens?.(context(at)) ?? null,
    prompts: at => act.prompts?.(context(at)) ?? null,
    queries: at => act.queries?.(context(at)) ?? null,
    linearInput: (x, site, at) => act.linearInput?.(x, site, context(at)) ?? x,
    linearWeight: (weight, site, at) => act.linearWeight?.(weight, site, context(at)) ?? weight,
    linearOutput: (y, x, site, at) => act.linearOutput?.(y, x, site, context(at)) ?? y,
    normOutput: (y, site, at) => act.normOutput?.(y, site, context(at)) ?? y,
    attentionInputs: (inputs, at) => act.attentionInputs?.(inputs, context(at)) ?? inputs,
    attentionScores: attentionScores ? (scores, at) => attentionScores(scores, context(at)) : null,
    branchOutput: (y, inputs, branch, at) => act.branchOutput?.(y, inputs, branch, context(at)) ?? y,
    blockOutput: (x, at) => act.blockOutput?.(x, context(at)) ?? x,
    headInput: (x, at) => act.headInput?.(x, context(at)) ?? x,
    dropPath: (y, branch, { block }) => dropPath(bind, y, block, branch),
  };
}

function hookContext(bind: BindOptions, { block, activations }: Place): HookContext<Record<string, unknown>> {
  const { options, architecture, batch, tensor } = bind;
  return {
    options, architecture, block, batch, tensor,
    activation(name) {
      const found = activations[name];
      if (!found) throw new Error(`${bind.method.title} asks for the activation '${name}', which is not computed yet; there are ${Object.keys(activations).join(', ')}`);
      return found;
    },
    dropout: (x, rate, site) => dropout(bind, x, rate, `blocks.${block}.${site}`),
    dropPath: (x, site) => dropPath(bind, x, block, site),
    layerScale: (x, branch) => architecture.layerScale
      ? tf.mul(x, tensor(`blocks.${block}.${branch === 'attention' ? 'ls1' : 'ls2'}.gamma`)) : x,
  };
}

function dropout({ training }: BindOptions, x: Tensor, rate: number, site: string): Tensor {
  if (!training?.dropout || rate === 0) return x;
  const mask = training.mask({ name: `dropout/${site}`, shape: x.shape, rate });
  return mask ? applyMask(x, mask, 1 - rate) : x;
}

/** Drops the whole branch for an image, or scales it up: x [tokens * batch, width], mask [1, batch, 1]. */
function dropPath({ training, architecture, batch }: BindOptions, x: Tensor, block: number, site: string): Tensor {
  const last = architecture.depth - 1;
  const rate = block < 0 || block > last ? 0 : (training?.dropPath ?? 0) * block / Math.max(last, 1);
  if (!training || rate === 0) return x;
  const mask = training.mask({ name: `drop-path/blocks.${block}.${site}`, shape: [1, batch, 1], rate });
  if (!mask) return x;
  const [rows, width] = x.shape as [number, number];
  return tf.reshape(applyMask(tf.reshape(x, [rows / batch, batch, width]), mask, 1 - rate), [rows, width]);
}
