import type { Node, Value } from './nodes';

export interface HeadShape {
  /** One for each image and head. */
  groups: number;
  headWidth: number;
  queries: number;
  tokens: number;
  scale: number;
}

/** Of an attention, or of its gradient, with these queries and keys. */
export function headShape({ inputs, attributes }: Node, q: Value, k: Value): HeadShape {
  const [batch, heads] = [attributes['batch'] as number, attributes['heads'] as number];
  const headWidth = inputs[0]!.shape[1]! / heads;
  return { groups: batch * heads, headWidth, queries: q.shape[0]! / batch, tokens: k.shape[0]! / batch, scale: 1 / Math.sqrt(headWidth) };
}
