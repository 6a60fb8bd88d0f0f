/**
 * Products in a lower precision: their operands are rounded to it, and so are their results; everything between them,
 * and everything that is kept from step to step, stays f32. Neutral: casts are nodes, and a writer puts down a product
 * in the type that its values have. Attention takes and gives the lower type and has its softmax in f32.
 *
 * A sum that was fused into a product is taken out again: it is made in f32.
 */
import type { Precision } from '../program';
import type { HalfType, Node, Trace, Value } from './nodes';
import { freshValue } from './nodes';
import { dropUnused, freeEarly } from './passes';

const products = new Set(['BatchMatMul', 'MatMulAdd', 'Attention', 'AttentionGradient']);

/** An optimised trace with its products in the precision asked for; tf32 is an engine's own way to multiply f32. */
export function inPrecision(trace: Trace, precision: Precision): Trace {
  const type = halfType(precision);
  return type ? freeEarly(lowerProducts(trace, type)) : trace;
}

/** The type that products are made in; null where it is that of everything else. */
function halfType(precision: Precision): HalfType | null {
  switch (precision) {
    case 'f16': return 'float16';
    case 'bf16': return 'bfloat16';
    case 'f32': case 'tf32': return null;
    default: return precision satisfies never;
  }
}

export function lowerProducts(trace: Trace, type: HalfType): Trace {
  const nodes: Node[] = [];
  const lowered = new Map<Value, Value>();
  const lower = (value: Value): Value => {
    if (!lowered.has(value)) {
      lowered.set(value, freshValue(value.shape, type));
      nodes.push({ kernel: 'Cast', inputs: [value], outputs: [lowered.get(value)!], attributes: {} });
    }
    return lowered.get(value)!;
  };
  const compute = ({ kernel, inputs, outputs, attributes }: Node) => {
    const made = outputs.map(({ shape }) => freshValue(shape, type));
    nodes.push({ kernel, inputs: inputs.map(lower), outputs: made, attributes });
    outputs.forEach((output, i) => {
      lowered.set(output, made[i]!);
      nodes.push({ kernel: 'Cast', inputs: [made[i]!], outputs: [output], attributes: {} });
    });
  };
  for (const node of trace.nodes) {
    if (!products.has(node.kernel)) nodes.push(node);
    else if (node.kernel === 'MatMulAdd') splitSum(node).forEach((part, i) => (i === 0 ? compute(part) : nodes.push(part)));
    else compute(node);
  }
  return dropUnused({ ...trace, nodes });
}

/** a b + c as a product and a sum. */
function splitSum({ inputs, outputs, attributes }: Node): [Node, Node] {
  const product = freshValue(outputs[0]!.shape, 'float32');
  return [
    { kernel: 'BatchMatMul', inputs: inputs.slice(0, 2), outputs: [product], attributes },
    { kernel: 'Add', inputs: [product, inputs[2]!], outputs, attributes: {} },
  ];
}
