/**
 * Where values lie: most in memory of their own, row-major; reshaped and sliced ones are views of others, and parts that
 * are joined are written where they will stand.
 */
import type { Node, Trace, Value } from '../graph/nodes';
import { leavesOf, sameShape, sizeOf } from '../graph/nodes';

export interface Layout {
  /** Whose memory it is in. */
  root: Value;
  /** Elements from the root's beginning. */
  offset: number;
  /** Elements from one to the next along each axis. */
  strides: readonly number[];
}

export type Layouts = (value: Value) => Layout;

/** The layout of every value of a list, and the nodes that still have something to do. */
export function layOut(trace: Trace): { layouts: Layouts; nodes: Node[] } {
  const context: Context = { views: new Map(), leaves: new Set(leavesOf(trace)), readers: readersOf(trace.nodes) };
  const joins = placeJoined(trace.nodes, context);
  const nodes = trace.nodes.filter(node => !joins.has(node) && !makesViews(node, context));
  return { layouts: value => layoutOf(value, context), nodes };
}

interface Context {
  views: Map<Value, Layout>;
  leaves: Set<Value>;
  readers: Map<Value, Node[]>;
}

function layoutOf(value: Value, { views }: Pick<Context, 'views'>): Layout {
  return views.get(value) ?? { root: value, offset: 0, strides: denseStrides(value.shape) };
}

export function denseStrides(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1]! * shape[axis + 1]!;
  return strides;
}

/** Whether elements follow one another as in memory of their own. */
export function isDense(shape: readonly number[], strides: readonly number[]): boolean {
  const dense = denseStrides(shape);
  return shape.every((side, axis) => side === 1 || strides[axis] === dense[axis]);
}

function readersOf(nodes: readonly Node[]): Map<Value, Node[]> {
  const readers = new Map<Value, Node[]>();
  for (const node of nodes) for (const input of new Set(node.inputs)) readers.set(input, [...(readers.get(input) ?? []), node]);
  return readers;
}

/** Nodes whose outputs may be written with gaps between rows. */
const writesRows = new Set(['Product', 'Attention', 'AttentionGradient']);

/** Joins whose parts are all written in their place: there is nothing left to do for them. */
function placeJoined(nodes: readonly Node[], context: Context): Set<Node> {
  const makers = new Map(nodes.flatMap(node => node.outputs.map(output => [output, node] as const)));
  const done = new Set<Node>();
  for (const node of nodes.toReversed()) { // a join that is part of another is placed after that one
    if (node.kernel !== 'Concat') continue;
    const [output] = node.outputs as [Value];
    const axis = node.attributes['axis'] as number;
    const whole = layoutOf(output, context);
    const keepsDense = sizeOf(output.shape.slice(0, axis)) === 1 && whole.root === output;
    const canPlace = (part: Value) => {
      const maker = makers.get(part);
      const plain = maker !== undefined && !viewKernels.has(maker.kernel) && maker.kernel !== 'Concat' && !context.leaves.has(part) && context.readers.get(part)!.length === 1;
      return plain && node.inputs.filter(input => input === part).length === 1 && (keepsDense || (writesRows.has(maker.kernel) && part.shape.length === 2));
    };
    if (!node.inputs.every(canPlace)) continue;
    let at = 0;
    for (const part of node.inputs) {
      context.views.set(part, { root: whole.root, offset: whole.offset + at * whole.strides[axis]!, strides: whole.strides });
      at += part.shape[axis]!;
    }
    done.add(node);
  }
  return done;
}

const viewKernels = new Set(['Reshape', 'ExpandDims', 'Slice', 'SplitV']);

/** Registers the outputs of a node as views of its input where that is possible, and whoever reads them can read so. */
function makesViews(node: Node, context: Context): boolean {
  if (!viewKernels.has(node.kernel) || node.outputs.some(output => context.leaves.has(output))) return false;
  const source = layoutOf(node.inputs[0]!, context);
  if (node.inputs[0]!.source?.kind === 'literal') return false;
  const views = viewsOf(node, source);
  if (!views?.every((view, i) => isReadable(node.outputs[i]!, view, context))) return false;
  node.outputs.forEach((output, i) => context.views.set(output, views[i]!));
  return true;
}

function viewsOf({ kernel, inputs, outputs, attributes }: Node, source: Layout): Layout[] | null {
  const [input] = inputs as [Value];
  if (kernel === 'Reshape' || kernel === 'ExpandDims') {
    const strides = isDense(input.shape, source.strides) ? denseStrides(outputs[0]!.shape) : sameShape(input.shape, outputs[0]!.shape) ? source.strides : null;
    return strides && [{ ...source, strides }];
  }
  if (kernel === 'Slice') {
    const begin = attributes['begin'] as number[];
    return [{ ...source, offset: source.offset + begin.reduce((sum, at, axis) => sum + at * source.strides[axis]!, 0) }];
  }
  const axis = attributes['axis'] as number;
  let at = 0;
  return outputs.map(output => {
    const view = { ...source, offset: source.offset + at * source.strides[axis]! };
    at += output.shape[axis]!;
    return view;
  });
}

function isReadable(value: Value, { strides }: Layout, context: Context): boolean {
  if (isDense(value.shape, strides)) return true;
  return (context.readers.get(value) ?? []).every(reader => reader.inputs.every((input, i) => input !== value || readsGaps(reader, i, strides)));
}

/** Whether a node can read an input whose rows do not follow one another. */
function readsGaps({ kernel, attributes }: Node, index: number, strides: readonly number[]): boolean {
  const rowsAreWhole = strides.at(-1) === 1;
  switch (kernel) {
    case 'Product': return rowsAreWhole && strides.length === 2 && index !== attributes['bias'] && index !== attributes['keep'];
    case 'Attention': return rowsAreWhole;
    case 'AttentionGradient': return rowsAreWhole && index < 5;
    case 'Norm': case 'LayerNormalize': return rowsAreWhole && index === 0;
    case 'NormGradient': return rowsAreWhole && (index === 0 || index === attributes['addend']);
    case 'Chain': return rowsAreWhole;
    case 'Transpose': case 'Concat': case 'Tile': case 'PadV2': case 'Slice': case 'SplitV': return true;
    default: return false;
  }
}
