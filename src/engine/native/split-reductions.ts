import type { Node, Trace } from '../graph/nodes';
import { freshValue } from '../graph/nodes';

/** A sum, mean or largest value over axes that do not lie side by side becomes one over each of them, the last axis first. */
export function splitReductions(trace: Trace): Trace {
  return { ...trace, nodes: trace.nodes.flatMap(split) };
}

function split(node: Node): Node[] {
  const axes = node.attributes['axes'] as number[] | undefined;
  if (!axes || !['Sum', 'Mean', 'Max'].includes(node.kernel) || areAdjacent(axes, node.inputs[0]!.shape)) return [node];
  const nodes: Node[] = [];
  let [x] = node.inputs;
  for (const axis of [...axes].sort((a, b) => b - a)) {
    const reduced = freshValue(x!.shape.map((side, i) => (i === axis ? 1 : side)), x!.dtype);
    nodes.push({ ...node, inputs: [x!], outputs: [reduced], attributes: { axes: [axis], keepDims: true } });
    x = reduced;
  }
  return [...nodes, { kernel: 'Reshape', inputs: [x!], outputs: node.outputs, attributes: {} }];
}

/** But for axes of one element between them. */
function areAdjacent(axes: readonly number[], shape: readonly number[]): boolean {
  const [first, last] = [Math.min(...axes), Math.max(...axes)];
  return shape.every((side, axis) => axis < first || axis > last || axes.includes(axis) || side === 1);
}
