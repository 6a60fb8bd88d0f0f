/** Leaves out of a trained adapter what served its training alone, such as a network that made the tensors that act. */
import type { Architecture } from '../common/trial';
import type { HostTensors } from '../engine/program';
import type { Method } from './method';
import { adapterTensors } from './trainable';

export interface CondenseOptions {
  method: Method;
  options: Record<string, unknown>;
  architecture: Architecture;
  classes: number;
  /** The adapter's, head included. */
  tensors: HostTensors;
}

/** The options and tensors to save; those given where nothing can be left out. */
export function condense({ method, options, architecture, classes, tensors }: CondenseOptions): { options: Record<string, unknown>; tensors: HostTensors } {
  const condensed = method.condense?.({ architecture, trained: name => tensors[name]!.data as Float32Array }, options);
  if (!condensed) return { options, tensors };
  const kept = adapterTensors({ architecture, method, options: condensed.options, classes }).map(({ name, shape }) => {
    const made = condensed.tensors[name];
    return [name, made ? { shape, data: made } : tensors[name]!] as const;
  });
  return { options: condensed.options, tensors: Object.fromEntries(kept) };
}
