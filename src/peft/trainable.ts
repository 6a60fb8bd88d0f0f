/** Which tensors a method trains: base tensors by its rules, those it adds, and the head. */
import type { Architecture } from '../common/trial';
import { baseParameters } from '../vit/architecture';
import type { Initializer, Method, TensorDeclaration } from './method';

export interface ModelTensors {
  architecture: Architecture;
  method: Method;
  options: Record<string, unknown>;
  classes: number;
}

export type TrainableTensor =
  | { name: string; shape: readonly number[]; source: 'base' }
  | { name: string; shape: readonly number[]; source: 'added' | 'head'; initial: Initializer };

/** In the order base, added, head. Throws when a base tensor matches no rule or a name is declared twice. */
export function trainableTensors({ architecture, method, options, classes }: ModelTensors): TrainableTensor[] {
  const base = baseParameters(architecture).filter(({ name }) => trainsBase(method, name));
  const all: TrainableTensor[] = [
    ...base.map(({ name, shape }) => ({ name, shape, source: 'base' as const })),
    ...(method.tensors?.(architecture, options) ?? []).map(tensor => ({ ...tensor, source: 'added' as const })),
    ...headTensors(architecture.width, classes).map(tensor => ({ ...tensor, source: 'head' as const })),
  ];
  const names = new Set(all.map(({ name }) => name));
  if (names.size < all.length) throw new Error(`${method.title} declares a tensor twice`);
  return all;
}

/** First match wins; no match is a defect of the method. */
export function trainsBase(method: Method, name: string): boolean {
  const rule = method.trains.find(({ pattern }) => pattern.test(name));
  if (!rule) throw new Error(`${method.title}: no rule says whether '${name}' trains`);
  return rule.train;
}

/** The classifier, as PyTorch initialises a linear layer: weight and bias ~ U(+-1 / sqrt(width)). */
export function headTensors(width: number, classes: number): TensorDeclaration[] {
  const initial = { kind: 'uniform', limit: 1 / Math.sqrt(width) } as const;
  return [
    { name: 'head.weight', shape: [classes, width], initial },
    { name: 'head.bias', shape: [classes], initial },
  ];
}
