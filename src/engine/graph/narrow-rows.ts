/**
 * Narrowing: where only some rows of a value are read (the class tokens of the last block), what leads to it is computed
 * for those rows alone, and where only some rows of a gradient are not zero, what follows from it is too. Exact.
 *
 * A slice of rows is pulled up through operations that work row by row; a padding with zero rows is pushed down through
 * them. Rows whose full value is needed anyway are cut out of it.
 */
import type { Attributes, Node, Trace, Value } from './nodes';
import { freshValue, leadingTo, leavesOf, sameShape, sizeOf } from './nodes';

export function narrowRows(trace: Trace): Trace {
  const first = rewrite(trace, () => false);
  // What is computed in full all the same need not be computed a second time for some rows.
  const full = computed(first);
  return rewrite(trace, value => full.has(value));
}

/** Rows `start` to `start + count` along the first axis. */
interface Rows { start: number; count: number }

/** A value that is zero outside some rows, and those rows. */
interface Padded { inner: Value; rows: Rows }

interface Rewriter {
  nodes: Node[];
  makers: Map<Value, Node>;
  cuts: Map<Value, Map<string, Value>>;
  /** What a value has rows of, and which: rows of these are then rows of that. */
  origins: Map<Value, { value: Value; rows: Rows }>;
  padded: Map<Value, Padded>;
  /** Values that are made in full, of which slices are cut instead of computed. */
  stays(value: Value): boolean;
}

function rewrite(trace: Trace, stays: (value: Value) => boolean): Trace {
  const rewriter: Rewriter = { nodes: [], makers: new Map(), cuts: new Map(), origins: new Map(), padded: new Map(), stays };
  const replaced = new Map<Value, Value>();
  const resolve = (value: Value) => replaced.get(value) ?? value;
  for (const original of trace.nodes) {
    const node = { ...original, inputs: original.inputs.map(resolve) };
    const outputs = rewriteNode(node, rewriter);
    if (outputs) node.outputs.forEach((output, i) => replaced.set(output, outputs[i]!));
  }
  const final = (map: Map<string, Value>) => new Map([...map].map(([name, value]) => [name, materialize(resolve(value), rewriter)]));
  const [fetches, updates] = [final(trace.fetches), final(trace.updates)];
  return { ...trace, nodes: rewriter.nodes, fetches, updates };
}

/** Values that a node makes and something reads, in a rewritten trace. */
function computed(trace: Trace): Set<Value> {
  const leaves = leavesOf(trace);
  return new Set([...leaves, ...leadingTo(leaves, trace.nodes).flatMap(({ inputs }) => inputs)]);
}

/** Adds what the node becomes; returns the values that stand for its outputs, or null when they are its own. */
function rewriteNode(node: Node, rewriter: Rewriter): Value[] | null {
  const rows = slicedRows(node);
  if (rows) return [cut(node.inputs[0]!, rows, rewriter)];
  const padding = paddedRows(node);
  if (padding) {
    const [input] = node.inputs as [Value];
    const { inner, rows: { start, count } } = rewriter.padded.get(input) ?? { inner: input, rows: { start: 0, count: padding.count } };
    rewriter.padded.set(node.outputs[0]!, { inner, rows: { start: padding.start + start, count } });
    add({ ...node, inputs: [materialize(input, rewriter)] }, rewriter); // unread unless somebody needs it whole
    return null;
  }
  if (node.inputs.some(input => rewriter.padded.has(input))) {
    const pushed = pushDown(node, rewriter);
    if (pushed) return pushed;
  }
  add({ ...node, inputs: node.inputs.map(input => materialize(input, rewriter)) }, rewriter);
  return null;
}

function add(node: Node, { nodes, makers }: Rewriter): readonly Value[] {
  nodes.push(node);
  for (const output of node.outputs) makers.set(output, node);
  return node.outputs;
}

function make(kernel: string, inputs: readonly Value[], shapes: readonly (readonly number[])[], attributes: Attributes, rewriter: Rewriter): Value[] {
  const outputs = shapes.map(shape => freshValue(shape, 'float32'));
  add({ kernel, inputs, outputs, attributes }, rewriter);
  return outputs;
}

/** The rows that a Slice takes, when it takes whole rows. */
function slicedRows({ kernel, inputs, attributes }: Node): Rows | null {
  if (kernel !== 'Slice' || inputs[0]!.source) return null;
  const [begin, size] = [attributes['begin'] as number[], attributes['size'] as number[]];
  const whole = size.slice(1).every((d, i) => d === inputs[0]!.shape[i + 1]);
  return whole && begin.length > 0 ? { start: begin[0]!, count: size[0]! } : null;
}

/** The rows of a PadV2's output that are its input, when it adds whole rows of zeros. */
function paddedRows({ kernel, inputs, attributes }: Node): Rows | null {
  if (kernel !== 'PadV2' || attributes['value'] !== 0) return null;
  const [before, after] = [attributes['before'] as number[], attributes['after'] as number[]];
  if (before.slice(1).some(Boolean) || after.slice(1).some(Boolean)) return null;
  return { start: before[0]!, count: inputs[0]!.shape[0]! };
}

/** Operations each of whose output rows needs only the same rows of the inputs that have as many. */
const rowWise = new Set([
  'Add', 'Sub', 'Multiply', 'RealDiv', 'Maximum', 'Minimum', 'AddN', 'Gelu', 'GeluGradient', 'ApplyMask', 'LayerNormalize', 'LayerNormalizeGradient',
  'Relu', 'Step', 'Sigmoid', 'Tanh', 'Exp', 'Neg', 'Square', 'Cast', 'Identity', 'Erf',
]);

/** Those rows of a value, computed for them alone where that is possible. */
function cut(value: Value, rows: Rows, rewriter: Rewriter): Value {
  const full = value.shape[0]!;
  if (rows.start === 0 && rows.count === full) return value;
  const pad = rewriter.padded.get(value);
  if (pad && pad.rows.start === rows.start && pad.rows.count === rows.count) return pad.inner;
  const origin = rewriter.origins.get(value);
  if (origin) return cut(origin.value, { start: origin.rows.start + rows.start, count: rows.count }, rewriter);
  const key = `${rows.start}+${rows.count}`;
  const known = rewriter.cuts.get(value) ?? new Map<string, Value>();
  rewriter.cuts.set(value, known);
  if (!known.has(key)) known.set(key, cutAnew(value, rows, rewriter));
  return known.get(key)!;
}

function cutAnew(value: Value, rows: Rows, rewriter: Rewriter): Value {
  const maker = rewriter.stays(value) ? undefined : rewriter.makers.get(value);
  const part = maker && partOf(maker, rows);
  if (part) return cut(part.value, part.rows, rewriter);
  const made = (maker && pullUp(maker, value, rows, rewriter)) ?? slice(value, rows, rewriter);
  rewriter.origins.set(made, { value, rows });
  return made;
}

/** The one of what was joined that has all of the rows, and which of its own they are. */
function partOf({ kernel, inputs, attributes }: Node, { start, count }: Rows): { value: Value; rows: Rows } | null {
  if (kernel !== 'Concat' || attributes['axis'] !== 0) return null;
  let begin = 0;
  for (const value of inputs) {
    const end = begin + value.shape[0]!;
    if (start >= begin && start + count <= end) return { value, rows: { start: start - begin, count } };
    begin = end;
  }
  return null;
}

function slice(value: Value, rows: Rows, rewriter: Rewriter): Value {
  const begin = value.shape.map((_, i) => (i === 0 ? rows.start : 0));
  const size = value.shape.map((d, i) => (i === 0 ? rows.count : d));
  const [made] = make('Slice', [materialize(value, rewriter)], [size], { begin, size }, rewriter);
  made!.dtype = value.dtype;
  return made!;
}

/** Computes the rows from the same rows of the maker's inputs; null where the operation mixes rows. */
function pullUp(maker: Node, value: Value, rows: Rows, rewriter: Rewriter): Value | null {
  const { kernel, inputs, outputs, attributes } = maker;
  if (rowWise.has(kernel)) {
    const narrow = inputs.map(input => cutLike(input, value, rows, rewriter));
    const made = make(kernel, narrow, outputs.map(o => withRows(o.shape, rows.count)), attributes, rewriter);
    return rememberAll(outputs, made, rows, rewriter, value);
  }
  if (kernel === 'BatchMatMul' && value.shape.length === 2 && !attributes['transposeA']) {
    return make(kernel, [cut(inputs[0]!, rows, rewriter), inputs[1]!], [withRows(value.shape, rows.count)], attributes, rewriter)[0]!;
  }
  if (kernel === 'Reshape') {
    const inner = convertRows(rows, value.shape, inputs[0]!.shape);
    return inner && make(kernel, [cut(inputs[0]!, inner, rewriter)], [withRows(value.shape, rows.count)], attributes, rewriter)[0]!;
  }
  if (kernel === 'Attention' && value === outputs[0]) return narrowAttention(maker, rows, rewriter)?.[0] ?? null;
  if (kernel === 'Concat' && attributes['axis'] !== 0) {
    return make(kernel, inputs.map(input => cut(input, rows, rewriter)), [withRows(value.shape, rows.count)], attributes, rewriter)[0]!;
  }
  if (kernel === 'SplitV' && attributes['axis'] !== 0) {
    if (rewriter.stays(inputs[0]!)) return null; // then its parts are there in full, too
    const made = make(kernel, [cut(inputs[0]!, rows, rewriter)], outputs.map(o => withRows(o.shape, rows.count)), attributes, rewriter);
    return rememberAll(outputs, made, rows, rewriter, value);
  }
  return null;
}

/** All outputs of a narrowed node are known from now on; returns the one that was asked for. */
function rememberAll(outputs: readonly Value[], made: readonly Value[], rows: Rows, { cuts }: Rewriter, asked: Value): Value {
  outputs.forEach((output, i) => {
    const known = cuts.get(output) ?? new Map<string, Value>();
    known.set(`${rows.start}+${rows.count}`, made[i]!);
    cuts.set(output, known);
  });
  return made[outputs.indexOf(asked)]!;
}

/** Attention for some queries only: its output for those rows and their probabilities. */
function narrowAttention(maker: Node, rows: Rows, rewriter: Rewriter): Value[] | null {
  const batch = maker.attributes['batch'] as number;
  if (rows.start % batch || rows.count % batch) return null;
  const [o, p] = maker.outputs as [Value, Value];
  const key = `${rows.start}+${rows.count}`;
  const known = rewriter.cuts.get(o)?.get(key);
  if (known) return [known, rewriter.cuts.get(p)!.get(key)!];
  const [q, k, v] = maker.inputs as [Value, Value, Value];
  const shapes = [withRows(o.shape, rows.count), [p.shape[0]!, rows.count / batch, p.shape[2]!]];
  const made = make('Attention', [cut(q, rows, rewriter), k, v], shapes, maker.attributes, rewriter);
  rememberAll([o, p], made, rows, rewriter, o);
  return made;
}

/** What the node makes of inputs that are zero outside some rows; null when it has to be done in full. */
function pushDown(node: Node, rewriter: Rewriter): Value[] | null {
  const { kernel, inputs, outputs, attributes } = node;
  const pads = inputs.map(input => rewriter.padded.get(input));
  const rows = pads.find(Boolean)!.rows;
  if (pads.some(p => p && (p.rows.start !== rows.start || p.rows.count !== rows.count))) return null;
  const output = outputs[0]!;
  const pad = (made: Value[]) => padLike(outputs, made, rows, rewriter);
  if (zeroKeeping(kernel, pads) && sameShape(output.shape, inputs[pads.findIndex(Boolean)]!.shape)) {
    const narrow = inputs.map(input => cutLike(input, output, rows, rewriter));
    return pad(make(kernel, narrow, outputs.map(o => withRows(o.shape, rows.count)), attributes, rewriter));
  }
  if (kernel === 'BatchMatMul' && output.shape.length === 2) {
    if (!attributes['transposeA']) {
      return pads[0] && !pads[1] ? pad(make(kernel, [pads[0].inner, inputs[1]!], [withRows(output.shape, rows.count)], attributes, rewriter)) : null;
    }
    // a' b sums over rows: rows that are zero on one side add nothing.
    if (attributes['transposeB']) return null;
    return make(kernel, inputs.map(input => cut(input, rows, rewriter)), [output.shape], attributes, rewriter);
  }
  if ((kernel === 'Concat' && pads.every(Boolean) || kernel === 'SplitV') && attributes['axis'] !== 0) {
    return pad(make(kernel, pads.map(padded => padded!.inner), outputs.map(o => withRows(o.shape, rows.count)), attributes, rewriter));
  }
  if (kernel === 'Sum' && pads[0]) return sumOfPadded(node, pads[0], rewriter);
  if (kernel === 'Reshape') {
    const outer = convertRows(rows, inputs[0]!.shape, output.shape);
    return outer && padLike(outputs, make(kernel, [pads[0]!.inner], [withRows(output.shape, outer.count)], attributes, rewriter), outer, rewriter);
  }
  if (kernel === 'AttentionGradient' && pads[0] && !pads.slice(1).some(Boolean)) return attentionOfPadded(node, pads[0], rewriter);
  return null;
}

/** Whether the operation makes zero rows of the zero rows that it gets. */
function zeroKeeping(kernel: string, pads: readonly (Padded | undefined)[]): boolean {
  switch (kernel) {
    case 'Multiply': return pads.some(Boolean);
    case 'Add': case 'Sub': case 'AddN': return pads.every(Boolean);
    case 'RealDiv': case 'ApplyMask': case 'GeluGradient': case 'LayerNormalizeGradient': return Boolean(pads[0]) && !pads.slice(1).some(Boolean);
    case 'Neg': case 'Cast': case 'Identity': return true;
    default: return false;
  }
}

function sumOfPadded({ kernel, outputs, attributes }: Node, { inner, rows }: Padded, rewriter: Rewriter): Value[] {
  const axes = attributes['axes'] as number[];
  if (axes.includes(0)) return make(kernel, [inner], [outputs[0]!.shape], attributes, rewriter);
  return padLike(outputs, make(kernel, [inner], [withRows(outputs[0]!.shape, rows.count)], attributes, rewriter), rows, rewriter);
}

/** Queries whose gradient is zero add nothing to dk and dv, and their dq is zero. */
function attentionOfPadded({ kernel, inputs, outputs, attributes }: Node, { inner, rows }: Padded, rewriter: Rewriter): Value[] | null {
  const [, q, k, v, o] = inputs as [Value, Value, Value, Value, Value];
  const maker = rewriter.makers.get(o);
  if (maker?.kernel !== 'Attention') return null;
  const narrow = narrowAttention(maker, rows, rewriter);
  if (!narrow) return null;
  const shapes = [withRows(q.shape, rows.count), k.shape, v.shape];
  const [dq, dk, dv] = make(kernel, [inner, cut(q, rows, rewriter), k, v, narrow[0]!, narrow[1]!], shapes, attributes, rewriter);
  return [...padLike([outputs[0]!], [dq!], rows, rewriter), dk!, dv!];
}

/** New values of the outputs' shapes that are zero outside the rows; the padding is done when somebody needs it. */
function padLike(outputs: readonly Value[], made: readonly Value[], rows: Rows, rewriter: Rewriter): Value[] {
  return outputs.map((output, i) => {
    const value = freshValue(output.shape, output.dtype);
    rewriter.padded.set(value, { inner: made[i]!, rows });
    return value;
  });
}

/** The value itself, with zero rows put in where it is only known to have them. */
function materialize(value: Value, rewriter: Rewriter): Value {
  const pad = rewriter.padded.get(value);
  if (!pad || rewriter.makers.has(value)) return value;
  const after = value.shape.map((d, i) => (i === 0 ? d - pad.rows.start - pad.rows.count : 0));
  const before = value.shape.map((_, i) => (i === 0 ? pad.rows.start : 0));
  add({ kernel: 'PadV2', inputs: [pad.inner], outputs: [value], attributes: { before, after, value: 0 } }, rewriter);
  return value;
}

/** The rows of an operand that has a row for each row of `like`; an operand that is broadcast along rows stays whole. */
function cutLike(operand: Value, like: Value, rows: Rows, rewriter: Rewriter): Value {
  const aligned = operand.shape.length === like.shape.length && operand.shape[0] === like.shape[0];
  return aligned ? cut(operand, rows, rewriter) : operand;
}

/** The same elements as rows of another shape; null where they are not whole rows there. */
function convertRows({ start, count }: Rows, from: readonly number[], to: readonly number[]): Rows | null {
  const [stride, other] = [sizeOf(from.slice(1)), sizeOf(to.slice(1))];
  if (!to.length || (start * stride) % other || (count * stride) % other) return null;
  return { start: start * stride / other, count: count * stride / other };
}

function withRows(shape: readonly number[], count: number): number[] {
  return [count, ...shape.slice(1)];
}
