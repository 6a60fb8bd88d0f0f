/** The arithmetic of a list of nodes: floating point operations of its matrix products, attention included. */
import type { Node, Trace } from './nodes';
import { sizeOf } from './nodes';

/** Multiplications and additions, each counted as one. */
export function productOperations({ nodes }: Trace): number {
  return nodes.reduce((sum, node) => sum + operationsOf(node), 0);
}

function operationsOf({ kernel, inputs, outputs, attributes }: Node): number {
  switch (kernel) {
    case 'BatchMatMul': case 'MatMulAdd': {
      const inner = inputs[0]!.shape.at(attributes['transposeA'] ? -2 : -1)!;
      return 2 * sizeOf(outputs[0]!.shape) * inner;
    }
    // Scores and mixture: each probability stands for one row of width / heads on either side.
    case 'Attention': return 2 * 2 * sizeOf(outputs[1]!.shape) * headWidth(inputs[0]!.shape, attributes);
    case 'AttentionGradient': return 4 * 2 * sizeOf(inputs[5]!.shape) * headWidth(inputs[1]!.shape, attributes);
    default: return 0;
  }
}

function headWidth(shape: readonly number[], { heads }: Node['attributes']): number {
  return shape[1]! / (heads as number);
}
