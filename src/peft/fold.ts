/** Folding: a backbone whose own tensors do what the adapter did. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import type { HostTensors } from '../engine/program';
import type { Method } from './method';

export interface FoldOptions {
  method: Method;
  options: Record<string, unknown>;
  architecture: Architecture;
  base: HostTensors;
  /** The adapter's tensors, base tensors that trained and the head included. */
  trained: HostTensors;
}

/** The whole backbone with its head, by timm names. Throws a UserError where the method cannot be folded. */
export function foldAdapter({ method, options, architecture, base, trained }: FoldOptions): HostTensors {
  const added = method.tensors?.(architecture, options) ?? [];
  const replaced = { ...base, ...without(trained, added.map(({ name }) => name)) };
  if (!added.length && !method.act) return replaced;
  const input = { architecture, base: (name: string) => floats(replaced, name), trained: (name: string) => floats(trained, name) };
  const folded = method.fold?.(input, options) ?? 'it is no change of the backbone\'s own weights';
  if (typeof folded === 'string') {
    throw new UserError({
      what: `${method.title} cannot be folded into the backbone: ${folded}`,
      remedy: 'Keep the adapter beside the backbone; methods that fold are those that change linear layers, such as LoRA.',
    });
  }
  return { ...replaced, ...Object.fromEntries(Object.entries(folded).map(([name, data]) => [name, { shape: replaced[name]!.shape, data }])) };
}

function without(tensors: HostTensors, names: readonly string[]): HostTensors {
  return Object.fromEntries(Object.entries(tensors).filter(([name]) => !names.includes(name)));
}

function floats(tensors: HostTensors, name: string): Float32Array {
  const found = tensors[name];
  if (!found) throw new Error(`no tensor '${name}' to fold`);
  return found.data as Float32Array;
}
