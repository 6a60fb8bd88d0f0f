/** Which tensors a method trains: base tensors by its rules, those it adds, and the head. */
import { UserError } from '../common/errors';
import type { Architecture } from '../common/trial';
import { baseParameters } from '../vit/architecture';
import type { Initializer, Method, TensorDeclaration } from './method';

export interface ModelTensors {
  architecture: Architecture;
  method: Method;
  options: Record<string, unknown>;
  classes: number;
}

export type AdapterTensor =
  | { name: string; shape: readonly number[]; source: 'base' }
  | { name: string; shape: readonly number[]; source: 'added' | 'head'; initial: Initializer; fixed?: true; decay?: false; neutral?: number };

/** Everything that an adapter holds, in the order base, added, head. UserError where the options do not suit the backbone. */
export function adapterTensors({ architecture, method, options, classes }: ModelTensors): AdapterTensor[] {
  refuseUnsuitable(architecture, method, options);
  const trains = trainRule(method, architecture, options);
  const base = baseParameters(architecture).filter(({ name }) => trains(name));
  const all: AdapterTensor[] = [
    ...base.map(({ name, shape }) => ({ name, shape, source: 'base' as const })),
    ...(method.tensors?.(architecture, options) ?? []).map(tensor => ({ ...tensor, source: 'added' as const })),
    ...headTensors(architecture.width, classes, architecture.projection).map(tensor => ({ ...tensor, source: 'head' as const })),
  ];
  const twice = all.find(({ name }, index) => all.findIndex(other => other.name === name) < index);
  if (twice) {
    throw new UserError({ what: `${method.title} has two tensors with the name '${twice.name}'`, remedy: 'Leave one of the methods out of the combination.' });
  }
  return all;
}

/** Those of them that train; the others are fixed when training begins. */
export function trainableTensors(model: ModelTensors): AdapterTensor[] {
  return adapterTensors(model).filter(tensor => !isFixed(tensor));
}

/** Whether a base tensor trains: first match wins; no match is a defect of the method. */
export function trainRule(method: Method, architecture: Architecture, options: Record<string, unknown>): (name: string) => boolean {
  const rules = typeof method.trains === 'function' ? method.trains(architecture, options) : method.trains;
  return name => {
    const rule = rules.find(({ pattern }) => pattern.test(name));
    if (!rule) throw new Error(`${method.title}: no rule says whether '${name}' trains`);
    return rule.train;
  };
}

/** The classifier, as PyTorch initialises a linear layer: weight and bias ~ U(+-1 / sqrt(width)). On a projection, where there is one. */
export function headTensors(width: number, classes: number, projection?: number): TensorDeclaration[] {
  const initial = { kind: 'uniform', limit: 1 / Math.sqrt(width) } as const;
  return [
    ...(projection === undefined ? [] : [{ name: 'head.proj.weight', shape: [projection, width], initial }]),
    { name: 'head.weight', shape: [classes, projection ?? width], initial },
    { name: 'head.bias', shape: [classes], initial },
  ];
}

function isFixed(tensor: AdapterTensor): boolean {
  return tensor.source !== 'base' && tensor.fixed === true;
}

function refuseUnsuitable(architecture: Architecture, method: Method, options: Record<string, unknown>): void {
  const reason = method.refuses?.(architecture, options);
  if (reason) throw new UserError({ what: `${method.title} does not suit this backbone: ${reason}`, remedy: 'Change the options of the method, or use another backbone.' });
}
