/**
 * Points between the frozen backbone and the fine-tuned one, as WiSE asks for them (Wortsman et al., arXiv 2109.01903):
 * alpha = 0 is the frozen backbone, alpha = 1 the adapter. What moves, and how, is each method's declaration.
 */
import { z } from 'zod';
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import type { HostTensor, HostTensors } from '../engine/program';
import { interpolationOf } from './combine';
import { foldAdapter } from './fold';
import type { Method } from './method';
import { adapterTensors } from './trainable';

export interface InterpolateOptions {
  method: Method;
  options: Record<string, unknown>;
  architecture: Architecture;
  classes: number;
  base: HostTensors;
  /** The adapter's tensors, base tensors that trained and the head included. */
  trained: HostTensors;
  /** The head's tensors at alpha = 0, such as CLIP's from texts (text-head.ts); null keeps the trained head at every alpha. */
  frozenHead: HostTensors | null;
  /** Share of the fine-tuning, 0 to 1; beyond it extrapolates. */
  alpha: number;
}

/** A model between the two: to be run as any backbone with an adapter. */
export interface Interpolated {
  method: Method;
  options: Record<string, unknown>;
  backbone: HostTensors;
  /** The adapter's tensors, head included. */
  adapter: HostTensors;
}

/** Throws a UserError with the reason where the method cannot be interpolated. */
export function interpolate(request: InterpolateOptions): Interpolated {
  const interpolation = interpolationOf(request.method, request.options);
  if ('refused' in interpolation) {
    throw new UserError({
      what: `${request.method.title} cannot be interpolated: ${interpolation.refused}`,
      remedy: 'Choose a method that changes weights or adds to what the backbone computes.',
    });
  }
  return interpolation.kind === 'folded' ? betweenBackbones(request) : betweenAdapters(request);
}

/** The adapter's own tensors move: base tensors from the backbone's values, added ones from their neutral value. */
function betweenAdapters(request: InterpolateOptions): Interpolated {
  const { method, options, architecture, base, trained, alpha } = request;
  const floats = (tensors: HostTensors) => (name: string) => need(tensors, name).data as Float32Array;
  const special = method.interpolate?.({ alpha, architecture, base: floats(base), trained: floats(trained) }, options) ?? {};
  const adapter = Object.fromEntries(adapterTensors(request).map((tensor): [string, HostTensor] => {
    const value = need(trained, tensor.name);
    if (tensor.source === 'head') return [tensor.name, headAt(tensor.name, request)];
    if (tensor.source === 'base') return [tensor.name, between(need(base, tensor.name), value, alpha)];
    if (Object.hasOwn(special, tensor.name)) return [tensor.name, { shape: value.shape, data: special[tensor.name]! }];
    return [tensor.name, tensor.neutral === undefined ? value : between(tensor.neutral, value, alpha)];
  }));
  return { method, options, backbone: base, adapter };
}

/** The backbone moves towards the one that has the adapter folded into it; nothing but a head is left beside it. */
function betweenBackbones(request: InterpolateOptions): Interpolated {
  const { base, alpha } = request;
  const folded = foldAdapter(request);
  return {
    method: frozen, options: {},
    backbone: Object.fromEntries(Object.entries(base).map(([name, value]) => [name, folded[name]!.data === value.data ? value : between(value, folded[name]!, alpha)])),
    adapter: Object.fromEntries(adapterTensors(request).filter(({ source }) => source === 'head').map(({ name }) => [name, headAt(name, request)])),
  };
}

function headAt(name: string, { frozenHead, trained, alpha }: InterpolateOptions): HostTensor {
  const own = need(trained, name);
  return frozenHead ? between(need(frozenHead, name), own, alpha) : own;
}

/** start + alpha (end - start); the ends exactly. */
function between(start: HostTensor | number, end: HostTensor, alpha: number): HostTensor {
  const from = (i: number) => (typeof start === 'number' ? start : start.data[i]!);
  const at = (value: number, i: number) => (alpha === 1 ? value : from(i) + alpha * (value - from(i)));
  return { shape: end.shape, data: (end.data as Float32Array).map(at) };
}

function need(tensors: HostTensors, name: string): HostTensor {
  const found = tensors[name];
  if (!found) throw new Error(`no tensor '${name}' to interpolate`);
  return found;
}

/** A backbone with nothing but a head. */
const frozen: Method = {
  title: 'Frozen backbone', summary: 'Nothing but a head.', paper: { title: '', url: '' }, version: 1, options: z.strictObject({}),
  page: { kind: 'head', equations: [], parameters: { formula: '0', count: () => 0 }, findings: '', checkedAgainst: [] },
  trains: [{ pattern: /^/, train: false }], identityAtStart: () => true, interpolation: { kind: 'weights' },
};
