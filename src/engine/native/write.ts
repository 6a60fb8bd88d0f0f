/** Nodes to instructions. One entry a kernel; a kernel missing here cannot be run. */
import { UserError } from '../../common/errors';
import { headShape } from '../graph/head-shape';
import type { Node, Value } from '../graph/nodes';
import { sizeOf } from '../graph/nodes';
import { isTogether, type Together } from './compute-together';
import { chainLimits, copyAxes, instruction, noOperand, ownRow, reductionCodes, type Operand } from './instructions';
import { denseStrides, isDense, type Layout } from './layout';
import { broadcastStrides, collapse, padAxes } from './strides';

/** What a node's words are made from. */
export interface Places {
  layout(value: Value): Layout;
  /** Where a value of f32 lies. Throws where it is one byte an element. */
  operand(value: Value): Operand;
  /** The same for either. */
  anyOperand(value: Value): { operand: Operand; isByte: boolean };
  /** Whether anybody reads it. */
  isRead(value: Value): boolean;
  /** Panels of a frozen weight that were laid out beforehand; null where there are none. */
  panels(weight: Value, product: PanelShape): Operand | null;
}

/** How an operand [k, n] of a product lies. */
export interface PanelShape {
  row: number;
  column: number;
  n: number;
  k: number;
}

/** The instructions of a node. Throws a UserError that names the kernel when there is none for it. */
export function writeNode(node: Node, places: Places): number[] {
  if (isTogether(node)) return together(node, places);
  const writer = writers[node.kernel];
  if (!writer) {
    throw new UserError({ what: `there is no instruction for the kernel '${node.kernel}'`, where: 'engine native', remedy: 'Use the engine "graph" or "wasm" for this method.' });
  }
  return writer(node, places);
}

/** What a thread holds itself has rows that stand one behind the other's like. */
function together({ nodes, rows, floatsOfRow, ownRows }: Together, places: Places): number[] {
  const inside: Places = {
    ...places,
    layout: value => (ownRows.has(value) ? { root: value, offset: 0, strides: [floatsOfRow, 1] } : places.layout(value)),
    operand: value => (ownRows.has(value) ? ownRow(ownRows.get(value)!) : places.operand(value)),
    anyOperand: value => (ownRows.has(value) ? { operand: ownRow(ownRows.get(value)!), isByte: false } : places.anyOperand(value)),
  };
  return instruction('together', [rows, floatsOfRow, ...nodes.flatMap(node => writeNode(node, inside))]);
}

type Writer = (node: Node, places: Places) => number[];

const writers: Record<string, Writer> = {
  Product: product, MatMulAdd: (node, places) => product({ ...node, attributes: { ...node.attributes, addend: 2 } }, places), Chain: chain,
  BatchMatMul: (node, places) => (node.inputs.every(({ shape }) => shape.length === 2) ? product(node, places) : batchedProduct(node, places)),
  Attention: attention, AttentionGradient: attentionGradient,
  Norm: norm, LayerNormalize: norm, NormGradient: normGradient, LayerNormalizeGradient: normGradient,
  Softmax: softmax(false), LogSoftmax: softmax(true), Sum: reduce, Mean: reduce, Max: reduce,
  Reshape: copyAll, ExpandDims: copyAll, Slice: slice, SplitV: split, Transpose: transpose, Tile: tile, PadV2: pad, Concat: concat,
  AddAtIndices: (node, places) => {
    const [, indices, values] = node.inputs as [Value, Value, Value];
    return [...copyAll(node, places), ...instruction('addAt', [places.operand(node.outputs[0]!), places.operand(indices), places.operand(values), sizeOf(indices.shape)])];
  },
  TakeAtIndices: ({ inputs: [x, indices], outputs: [output] }, places) =>
    instruction('takeAt', [places.operand(x!), places.operand(indices!), places.operand(output!), sizeOf(indices!.shape)]),
};

function product(node: Node, places: Places): number[] {
  return instruction('product', productWords(node, places));
}

/** The words of kernels.c's readProduct. */
function productWords({ inputs, outputs: [output, derivative], attributes }: Node, places: Places): (number | boolean | Operand)[] {
  const [a, b] = inputs as [Value, Value];
  const role = (name: string) => inputs[attributes[name] as number];
  const [m, n] = output!.shape.slice(-2) as [number, number];
  const k = a.shape.at(attributes['transposeA'] ? -2 : -1)!;
  const [left, right] = [matrix(a, attributes['transposeA'], places), matrix(b, attributes['transposeB'], places)];
  const rows = (value: Value | undefined) => (value && places.isRead(value) ? { at: places.operand(value), row: rowStride(value, places) } : { at: noOperand, row: 0 });
  const panels = b.shape.length === 2 ? places.panels(b, { ...right, n, k }) : null; // then b itself is not read
  const [addend, factor, saved] = [role('addend'), role('factor'), derivative].map(rows) as [Rows, Rows, Rows];
  return [
    places.operand(a), left.row, left.column, panels ? noOperand : places.operand(b), right.row, right.column, places.operand(output!), rowStride(output!, places), m, n, k,
    panels ?? noOperand, rows(role('bias')).at,
    addend.at, addend.row, rows(role('keep')).at, factor.at, factor.row, Boolean(attributes['gelu']), saved.at, saved.row, Boolean(attributes['inQuarters']),
  ];
}

interface Rows {
  at: Operand;
  row: number;
}

function matrix(value: Value, transposed: unknown, places: Places): { row: number; column: number } {
  const [row, column] = places.layout(value).strides.slice(-2) as [number, number];
  return transposed ? { row: column, column: row } : { row, column };
}

function rowStride(value: Value, places: Places): number {
  return places.layout(value).strides.at(-2) ?? 0;
}

/** Lays a frozen weight out: the panels are where the product then reads them. */
export function packInstruction(weight: Operand, { row, column, n, k }: PanelShape, panels: Operand): number[] {
  return instruction('pack', [noOperand, 0, 0, weight, row, column, noOperand, 0, 0, n, k, panels, noOperand, noOperand, 0, noOperand, noOperand, 0, false, noOperand, 0, false]);
}

function batchedProduct(node: Node, places: Places): number[] {
  const [a, b] = node.inputs as [Value, Value];
  const [output] = node.outputs as [Value];
  const batch = output.shape.slice(0, -2);
  const strides = [a, b].map(value => broadcastStrides(value.shape.slice(0, -2), places.layout(value).strides.slice(0, -2), batch));
  const axes = padAxes(collapse({ shape: batch, strides }), 3);
  if (!axes) throw tooManyAxes(node);
  const words = axes.shape.flatMap((side, axis) => [side, axes.strides[0]![axis]!, axes.strides[1]![axis]!]);
  return instruction('batchedProduct', [...productWords(node, places), ...words, output.shape.at(-2)! * output.shape.at(-1)!]);
}

function chain(node: Node, places: Places): number[] {
  const shape = node.attributes['shape'] as number[];
  const [steps, numbers, results] = [node.attributes['steps'] as number[], node.attributes['numbers'] as number[], node.attributes['results'] as number[]];
  const axes = chainAxes(node, shape, places);
  const inputs = node.inputs.flatMap((input, i): (number | boolean | Operand)[] => {
    const { operand, isByte } = places.anyOperand(input);
    return [operand, isByte, 0, ...axes.strides[i]!];
  });
  const literals = numbers.slice(node.inputs.length).flatMap((value): (number | Operand)[] => [noOperand, 0, value, ...Array<number>(chainLimits.axes).fill(0)]);
  const row = (output: Value) => (node.attributes['together'] === undefined ? axes.shape.at(-1)! : rowStride(output, places));
  return instruction('chain', [
    ...axes.shape, numbers.length, steps.length / 4, results.length, ...inputs, ...literals, ...steps,
    ...results.flatMap((from, i): (number | Operand)[] => [from, places.operand(node.outputs[i]!), row(node.outputs[i]!)]),
  ]);
}

/** Axes over which every input is read one after the other or as one, the outputs being dense but where rows are computed together. */
function chainAxes(node: Node, shape: readonly number[], places: Places) {
  const own = node.inputs.map(input => broadcastStrides(input.shape, places.layout(input).strides, shape));
  if (node.attributes['together'] !== undefined) return padAxes({ shape: [...shape], strides: own }, chainLimits.axes)!;
  const collapsed = collapse({ shape, strides: [...own, denseStrides(shape)] });
  if (collapsed.strides.some(strides => strides.at(-1)! > 1)) {
    collapsed.shape.push(1);
    for (const strides of collapsed.strides) strides.push(1);
  }
  const axes = padAxes(collapsed, chainLimits.axes);
  if (!axes) throw tooManyAxes(node);
  return axes;
}

function tooManyAxes({ kernel, outputs }: Node): UserError {
  return new UserError({
    what: `there is no instruction for the kernel '${kernel}' with shape [${outputs[0]!.shape.join(', ')}]`, where: 'engine native', remedy: 'Use the engine "graph" or "wasm" for this method.',
  });
}

function attention(node: Node, places: Places): number[] {
  const [output, logSums, probabilities] = node.outputs as [Value, Value, Value?];
  return instruction('attention', [...headWords(node, node.inputs, output, logSums, places), probabilities ? places.operand(probabilities) : noOperand]);
}

function attentionGradient(node: Node, places: Places): number[] {
  const [dy, q, k, v, output, logSums] = node.inputs as [Value, Value, Value, Value, Value, Value];
  const written = node.outputs.flatMap((gradient): (number | Operand)[] => [places.operand(gradient), rowStride(gradient, places)]);
  return instruction('attentionGradient', [...headWords(node, [q, k, v], output, logSums, places), places.operand(dy), rowStride(dy, places), ...written]);
}

/** The words of kernels.c's readAttention. */
function headWords(node: Node, inputs: readonly Value[], output: Value, logSums: Value, places: Places): (number | Operand)[] {
  const { headWidth, queries, tokens, scale } = headShape(node, inputs[0]!, inputs[1]!);
  return [
    node.attributes['batch'] as number, node.attributes['heads'] as number, headWidth, queries, tokens, scale,
    ...[...inputs, output].flatMap((value): (number | Operand)[] => [places.operand(value), rowStride(value, places)]), places.operand(logSums),
  ];
}

function norm({ kernel, inputs: [x, gamma, beta], outputs, attributes }: Node, places: Places): number[] {
  const [y, normalized, inverse] = kernel === 'Norm' ? outputs : [undefined, ...outputs];
  const wanted = (value: Value | undefined) => (value && places.isRead(value) ? places.operand(value) : noOperand);
  const width = x!.shape.at(-1)!;
  return instruction('layerNorm', [
    sizeOf(x!.shape) / width, width, attributes['epsilon'] as number, places.operand(x!), rowStride(x!, places), wanted(normalized), wanted(inverse),
    ...(y ? [gamma!, beta!, y].map(value => places.operand(value)) : [noOperand, noOperand, noOperand]), y ? rowStride(y, places) : 0,
  ]);
}

function normGradient({ inputs, outputs: [dx], attributes }: Node, places: Places): number[] {
  const [dy, normalized, inverse] = inputs as [Value, Value, Value];
  const [gamma, addend] = ['gamma', 'addend'].map(name => inputs[attributes[name] as number]);
  const at = (value: Value | undefined) => (value ? places.operand(value) : noOperand);
  const width = dy.shape.at(-1)!;
  return instruction('layerNormGradient', [
    sizeOf(dy.shape) / width, width, places.operand(dy), rowStride(dy, places), places.operand(normalized), places.operand(inverse), at(gamma),
    at(addend), addend ? rowStride(addend, places) : 0, places.operand(dx!), rowStride(dx!, places),
  ]);
}

function softmax(isLogarithm: boolean): Writer {
  return ({ inputs: [x], outputs: [y] }, places) => {
    const width = x!.shape.at(-1) ?? 1;
    return instruction('softmax', [sizeOf(x!.shape) / width, width, isLogarithm, places.operand(x!), places.operand(y!)]);
  };
}

function reduce({ kernel, inputs: [x], outputs: [y], attributes }: Node, places: Places): number[] {
  const axes = (attributes['axes'] as number[]).filter(axis => x!.shape[axis] !== 1);
  const [first, last] = axes.length ? [Math.min(...axes), Math.max(...axes)] : [0, -1];
  const side = (from: number, to: number) => sizeOf(x!.shape.slice(from, to));
  const inner = side(last + 1, x!.shape.length);
  const row = attributes['together'] === undefined ? inner : rowStride(x!, places);
  return instruction('reduce', [
    (reductionCodes as readonly string[]).indexOf(kernel), side(0, first), side(first, last + 1), inner, places.operand(x!), row, places.operand(y!),
  ]);
}

interface Side {
  operand: Operand;
  strides: readonly number[];
}

function copy(shape: readonly number[], from: Side, to: Side, node: Node): number[] {
  const axes = padAxes(collapse({ shape, strides: [from.strides, to.strides] }), copyAxes);
  if (!axes) throw tooManyAxes(node);
  const words = axes.shape.flatMap((side, axis) => [side, axes.strides[0]![axis]!, axes.strides[1]![axis]!]);
  return instruction('copy', [...words, from.operand, to.operand]);
}

function sideOf(value: Value, places: Places): Side {
  return { operand: places.operand(value), strides: places.layout(value).strides };
}

/** The side from an element on. */
function shifted({ operand, strides }: Side, at: readonly number[]): Side {
  return { strides, operand: { ...operand, bytes: operand.bytes + 4 * at.reduce((sum, index, axis) => sum + index * strides[axis]!, 0) } };
}

/** The same elements in another shape. */
function copyAll(node: Node, places: Places): number[] {
  const [[x], [y]] = [node.inputs, node.outputs];
  return copy(x!.shape, sideOf(x!, places), { operand: places.operand(y!), strides: denseStrides(x!.shape) }, node);
}

/** At the end of a program: a result to where it belongs. */
export function copyOut(value: Value, to: Operand, places: Places): number[] {
  return copy(value.shape, sideOf(value, places), { operand: to, strides: denseStrides(value.shape) }, { kernel: 'Identity', inputs: [value], outputs: [value], attributes: {} });
}

function slice(node: Node, places: Places): number[] {
  const [[x], [y]] = [node.inputs, node.outputs];
  return copy(y!.shape, shifted(sideOf(x!, places), node.attributes['begin'] as number[]), sideOf(y!, places), node);
}

function split(node: Node, places: Places): number[] {
  const [source, begins] = [sideOf(node.inputs[0]!, places), beginsAlong(node.outputs, node)];
  return node.outputs.flatMap((output, i) => copy(output.shape, shifted(source, begins[i]!), sideOf(output, places), node));
}

function concat(node: Node, places: Places): number[] {
  const [target, begins] = [sideOf(node.outputs[0]!, places), beginsAlong(node.inputs, node)];
  return node.inputs.flatMap((input, i) => copy(input.shape, sideOf(input, places), shifted(target, begins[i]!), node));
}

/** Where parts that stand one behind the other along the node's axis begin. */
function beginsAlong(parts: readonly Value[], { attributes }: Node): number[][] {
  const axis = attributes['axis'] as number;
  let at = 0;
  return parts.map(({ shape }) => {
    const begin = shape.map((_, i) => (i === axis ? at : 0));
    at += shape[axis]!;
    return begin;
  });
}

function transpose(node: Node, places: Places): number[] {
  const [[x], [y]] = [node.inputs, node.outputs];
  const from = sideOf(x!, places);
  return copy(y!.shape, { ...from, strides: (node.attributes['perm'] as number[]).map(axis => from.strides[axis]!) }, sideOf(y!, places), node);
}

function tile(node: Node, places: Places): number[] {
  const [[x], [y]] = [node.inputs, node.outputs];
  const from = sideOf(x!, places);
  const shape = x!.shape.flatMap((side, axis) => [(node.attributes['reps'] as number[])[axis]!, side]);
  return copy(shape, { ...from, strides: from.strides.flatMap(stride => [0, stride]) }, { operand: places.operand(y!), strides: denseStrides(shape) }, node);
}

function pad(node: Node, places: Places): number[] {
  const [[x], [y]] = [node.inputs, node.outputs];
  const [to, before] = [sideOf(y!, places), node.attributes['before'] as number[]];
  if (!isDense(y!.shape, to.strides)) throw new Error('padding is written into memory of its own');
  const filled = instruction('fill', [to.operand, sizeOf(y!.shape), node.attributes['value'] as number]);
  return [...filled, ...copy(x!.shape, sideOf(x!, places), shifted(to, before), node)];
}

