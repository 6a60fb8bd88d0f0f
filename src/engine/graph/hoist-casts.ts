import type { HalfType, Trace, Value } from './nodes';

/** An input of a model that is a constant in a lower precision. */
export interface CastConstant {
  constant: string;
  type: HalfType;
}

/**
 * Casts of constants leave the program: the constant is an input in the lower precision, which an engine casts once for
 * all steps and programs. Returns what each new input holds.
 */
export function hoistCasts(trace: Trace): { trace: Trace; casts: Map<string, CastConstant> } {
  const casts = new Map<string, CastConstant>();
  const inputs = new Map(trace.inputs);
  const replaced = new Map<Value, Value>();
  const nodes = trace.nodes.filter(({ kernel, inputs: [x], outputs: [y] }) => {
    if (kernel !== 'Cast' || x!.source?.kind !== 'constant' || (y!.dtype !== 'float16' && y!.dtype !== 'bfloat16')) return true;
    const name = `${x!.source.name} as ${y!.dtype}`;
    casts.set(name, { constant: x!.source.name, type: y!.dtype });
    const input: Value = inputs.get(name) ?? { ...y!, source: { kind: 'constant', name } };
    inputs.set(name, input);
    replaced.set(y!, input);
    return false;
  });
  const resolve = (value: Value) => replaced.get(value) ?? value;
  return { trace: { ...trace, inputs, nodes: nodes.map(node => ({ ...node, inputs: node.inputs.map(resolve) })) }, casts };
}
