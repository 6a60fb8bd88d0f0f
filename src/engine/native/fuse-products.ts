import type { Attributes, Node, Trace, Value } from '../graph/nodes';
import { sameShape } from '../graph/nodes';
import { absorb, type Before } from './absorb';

/**
 * A product of two matrices and what follows it are one `Product`, which finishes its rows while they are in the cache.
 * Attributes `bias` [n], `addend` [m, n], `keep` [] (by which the addend is multiplied) and `factor` [m, n] number the inputs; the
 * result is GELU(factor * (a b + bias + keep * addend)), without what is absent; `gelu` says whether it ends so, and then its derivative
 * may be a second output.
 */
export function fuseProducts(trace: Trace): Trace {
  return absorb(trace, (node, before) => fuseFollowing(node, before) ?? asProduct(node, before));
}

function asProduct(node: Node, before: Before): Node | null {
  const { kernel, inputs, outputs: [output], attributes: { transposeA, transposeB } } = node;
  const plain = { transposeA: Boolean(transposeA), transposeB: Boolean(transposeB) };
  if (kernel === 'BatchMatMul' && inputs.every(({ shape }) => shape.length === 2)) return { ...node, kernel: 'Product', attributes: plain };
  return kernel === 'MatMulAdd' ? withAddend({ ...node, kernel: 'Product', inputs: inputs.slice(0, 2), attributes: plain }, inputs[2]!, output!, before) : null;
}

function fuseFollowing(node: Node, before: Before): Node | null {
  const { kernel, inputs, outputs } = node;
  if (kernel === 'Gelu' || kernel === 'GeluWithDerivative') {
    const maker = finishable(inputs[0]!, before);
    return maker && take(maker, before, { ...maker, outputs, attributes: { ...maker.attributes, gelu: true } });
  }
  if (kernel !== 'Add' && kernel !== 'Multiply') return null;
  for (const [product, other] of [inputs, [...inputs].reverse()] as [Value, Value][]) {
    const maker = finishable(product, before);
    if (!maker || other.source?.kind === 'literal' || !sameShape(outputs[0]!.shape, product.shape)) continue;
    const fused = kernel === 'Add' ? withSum(maker, other, outputs[0]!, before) : withInput(maker, 'factor', other, outputs[0]!);
    if (fused) return take(maker, before, fused);
  }
  return null;
}

/** A product that nobody else reads, to which something may yet be added. */
function finishable(value: Value, before: Before): Node | null {
  const maker = before.alone(value, 'Product');
  return maker && maker.attributes['factor'] === undefined && !maker.attributes['gelu'] ? maker : null;
}

function take(maker: Node, before: Before, fused: Node): Node {
  before.take(maker);
  return fused;
}

function withSum(maker: Node, other: Value, output: Value, before: Before): Node | null {
  const isRow = sameShape(other.shape, [output.shape[1]!]) && output.shape[0] !== undefined;
  if (isRow) return maker.attributes['bias'] === undefined ? { ...maker, ...appended(maker, { bias: other }), outputs: [output] } : null;
  return maker.attributes['addend'] === undefined && sameShape(other.shape, output.shape) ? withAddend(maker, other, output, before) : null;
}

/** The addend may itself be something times one number, as sums of gradients are. */
function withAddend(maker: Node, addend: Value, output: Value, before: Before): Node {
  const scaled = before.alone(addend, 'Multiply');
  const isKept = scaled && sameShape(scaled.inputs[0]!.shape, addend.shape) && scaled.inputs[1]!.shape.length === 0 && !scaled.inputs.some(({ source }) => source?.kind === 'literal');
  if (isKept) before.take(scaled);
  const more: Record<string, Value> = isKept ? { addend: scaled.inputs[0]!, keep: scaled.inputs[1]! } : { addend };
  return { ...maker, ...appended(maker, more), outputs: [output] };
}

function withInput(maker: Node, role: string, other: Value, output: Value): Node | null {
  return sameShape(other.shape, output.shape) ? { ...maker, ...appended(maker, { [role]: other }), outputs: [output] } : null;
}

function appended({ inputs, attributes }: Node, more: Record<string, Value>): { inputs: Value[]; attributes: Attributes } {
  const roles = Object.keys(more).map((role, i) => [role, inputs.length + i]);
  return { inputs: [...inputs, ...Object.values(more)], attributes: { ...attributes, ...Object.fromEntries(roles) as Attributes } };
}
