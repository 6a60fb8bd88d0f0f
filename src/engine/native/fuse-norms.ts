import type { Node, Trace, Value } from '../graph/nodes';
import { makersOf, sameShape } from '../graph/nodes';
import { absorb, type Before } from './absorb';

/**
 * LayerNorm with its scale and shift is one `Norm` [x, gamma, beta] -> y, normalised x, 1 / standard deviation; its gradient
 * is one `NormGradient` with the scale before it and the residual's gradient after it: attributes `gamma` and `addend`
 * number the inputs.
 */
export function fuseNorms(trace: Trace): Trace {
  return absorb(fuseForward(trace), (node, before) => fuseScale(node, before) ?? fuseResidual(node, before));
}

/** The normalised rows are read by the backward pass too, so that the node stays where it is and takes on what follows. */
function fuseForward(trace: Trace): Trace {
  const makers = makersOf(trace.nodes);
  const shifts = new Map<Node, Node>();
  const taken = new Set<Node>();
  for (const shift of trace.nodes) {
    if (shift.kernel !== 'Add') continue;
    const scale = makers.get(shift.inputs[0]!);
    const norm = scale?.kernel === 'Multiply' ? makers.get(scale.inputs[0]!) : undefined;
    if (norm?.kernel !== 'LayerNormalize' || shifts.has(norm) || !isGivenRow(scale!.inputs[1]!, norm) || !isGivenRow(shift.inputs[1]!, norm)) continue;
    if (readersOf(scale!.outputs[0]!, trace) !== 1) continue;
    shifts.set(norm, { ...norm, kernel: 'Norm', inputs: [norm.inputs[0]!, scale!.inputs[1]!, shift.inputs[1]!], outputs: [shift.outputs[0]!, ...norm.outputs] });
    taken.add(scale!).add(shift);
  }
  return { ...trace, nodes: trace.nodes.filter(node => !taken.has(node)).map(node => shifts.get(node) ?? node) };
}

/** A row of the width that is normalised, there before the program begins. */
function isGivenRow({ shape, source }: Value, { inputs }: Node): boolean {
  return source !== undefined && source.kind !== 'literal' && sameShape(shape, [inputs[0]!.shape.at(-1)!]);
}

function readersOf(value: Value, { nodes, fetches, updates }: Trace): number {
  return nodes.filter(({ inputs }) => inputs.includes(value)).length + [...fetches.values(), ...updates.values()].filter(leaf => leaf === value).length;
}

function fuseScale(node: Node, before: Before): Node | null {
  if (node.kernel !== 'LayerNormalizeGradient') return null;
  const [dy, normalized, inverse] = node.inputs as [Value, Value, Value];
  const plain: Node = { ...node, kernel: 'NormGradient', attributes: {} };
  const scale = before.alone(dy, 'Multiply');
  if (!scale || !sameShape(scale.inputs[1]!.shape, [dy.shape.at(-1)!]) || scale.inputs[1]!.source?.kind === 'literal' || !sameShape(scale.inputs[0]!.shape, dy.shape)) return plain;
  before.take(scale);
  return { ...plain, inputs: [scale.inputs[0]!, normalized, inverse, scale.inputs[1]!], attributes: { gamma: 3 } };
}

function fuseResidual({ kernel, inputs, outputs }: Node, before: Before): Node | null {
  if (kernel !== 'Add') return null;
  for (const [gradient, other] of [inputs, [...inputs].reverse()] as [Value, Value][]) {
    const maker = before.alone(gradient, 'NormGradient');
    if (!maker || maker.attributes['addend'] !== undefined || !sameShape(other.shape, gradient.shape) || other.source?.kind === 'literal') continue;
    before.take(maker);
    return { ...maker, inputs: [...maker.inputs, other], outputs, attributes: { ...maker.attributes, addend: maker.inputs.length } };
  }
  return null;
}
