/**
 * One ONNX graph for every batch size from graphs traced for 2, 3 and 4 images. Their nodes are the same; what differs are
 * whole numbers (shapes, ends of slices), which grow linearly with the batch, and are computed in the graph from the size
 * of an input. The third graph checks what the first two suggest.
 */
import { create } from '@bufbuild/protobuf';
import type { GraphProto, NodeProto, TensorProto } from './generated/onnx_pb';
import { AttributeProto_AttributeType, AttributeProtoSchema, NodeProtoSchema, TensorProto_DataType, TensorProtoSchema } from './generated/onnx_pb';

export interface SymbolicBatchOptions {
  /** For batches of 2, 3 and 4. */
  graphs: readonly [GraphProto, GraphProto, GraphProto];
  /** The name of an int64 value of shape [1], the batch size. */
  batch: string;
}

/** Nodes in an order in which they can run, and the initialisers that they read. Throws where the graphs differ in kind. */
export function symbolicBatch({ graphs, batch }: SymbolicBatchOptions): { nodes: NodeProto[]; initializers: TensorProto[] } {
  const known = graphs.map(graph => new Map(graph.initializer.map(tensor => [tensor.name, tensor])));
  const made: Made = { nodes: [], initializers: new Map(), values: new Map(), batch };
  const ordered = graphs.map(inOrder);
  if (new Set(ordered.map(list => list.length)).size > 1) throw new Error('the graphs for different batches have different numbers of nodes');
  const nodes = ordered[0]!.map((node, index) => {
    const same = ordered.map(list => list[index]!);
    if (new Set(same.map(signature)).size > 1) throw new Error(`node ${index} (${node.opType}) differs between batches`);
    const input = node.input.map((_, position) => {
      const names = same.map(n => n.input[position]!);
      const constants = names.map((name, i) => known[i]!.get(name));
      if (constants.every(c => c === undefined)) {
        if (new Set(names).size > 1) throw new Error(`node ${index} (${node.opType}) reads other values for other batches`);
        return names[0]!;
      }
      if (constants.includes(undefined)) throw new Error(`node ${index} (${node.opType}) reads a constant for some batches only`);
      return constantFor(constants as [TensorProto, TensorProto, TensorProto], made, { isShape: node.opType === 'Reshape' && position === 1 });
    });
    const complete = create(NodeProtoSchema, { ...node, input });
    const before = made.nodes.splice(0);
    return [...before, complete];
  });
  return { nodes: nodes.flat(), initializers: [...made.initializers.values()] };
}

interface Made {
  /** Nodes that compute a constant, for the node that is next. */
  nodes: NodeProto[];
  initializers: Map<string, TensorProto>;
  /** Values that were computed already, by what they are. */
  values: Map<string, string>;
  batch: string;
}

/** Each node behind those whose outputs it reads. */
function inOrder(graph: GraphProto): NodeProto[] {
  const maker = new Map(graph.node.flatMap(node => node.output.map(name => [name, node] as const)));
  const placed = new Set<NodeProto>(), ordered: NodeProto[] = [];
  for (const start of [...graph.node].reverse()) {
    const pending = [start];
    while (pending.length) {
      const node = pending.at(-1)!;
      const missing = node.input.map(name => maker.get(name)).filter((n): n is NodeProto => n !== undefined && !placed.has(n));
      if (missing.length) {
        pending.push(...missing);
        continue;
      }
      pending.pop();
      if (placed.has(node)) continue;
      placed.add(node);
      ordered.push(node);
    }
  }
  return ordered;
}

function signature({ opType, domain, attribute, output }: NodeProto): string {
  return JSON.stringify([opType, domain, output, attribute.map(({ name, i, f, ints }) => [name, String(i), f, ints.map(String)])]);
}

/** The name under which the constant is read: its own, or that of the value that stands for it at any batch. */
function constantFor(tensors: readonly [TensorProto, TensorProto, TensorProto], made: Made, { isShape }: { isShape: boolean }): string {
  const [first] = tensors;
  if (tensors.every(tensor => sameBytes(tensor, first))) return keep(made, first);
  if (first.dataType === TensorProto_DataType.INT64) return wholeNumbers(tensors, made, isShape);
  return uniformConstant(tensors, made);
}

function wholeNumbers(tensors: readonly TensorProto[], made: Made, isShape: boolean): string {
  const line = linear(tensors.map(integers));
  const growing = line.growth.flatMap((growth, i) => (growth ? [i] : []));
  if (isShape && growing.length === 1 && !line.start.includes(-1)) {
    return keepIntegers(made, line.start.map((value, i) => (i === growing[0] ? -1 : value)));
  }
  return computed(made, line);
}

/** A constant of one repeated value, whose shape grows: it is expanded. */
function uniformConstant(tensors: readonly TensorProto[], made: Made): string {
  const values = tensors.map(({ rawData }) => new Float32Array(rawData!.slice().buffer));
  const value = values[0]![0]!;
  if (tensors[0]!.dataType !== TensorProto_DataType.FLOAT || !values.every(list => list.every(v => v === value))) {
    throw new Error(`the constant '${tensors[0]!.name}' depends on the batch`);
  }
  const shape = computed(made, linear(tensors.map(({ dims }) => dims.map(Number))));
  return remember(made, `expanded ${value} ${shape}`, name => {
    const scalar = keep(made, create(TensorProtoSchema, { name: `value ${value}`, dims: [], dataType: TensorProto_DataType.FLOAT, rawData: new Uint8Array(Float32Array.of(value).buffer) }));
    made.nodes.push(operation('Expand', [scalar, shape], name));
  });
}

interface Line { start: number[]; growth: number[] }

/** start + growth * batch, from the values at 2 and 3; the values at 4 must lie on it. */
function linear([two, three, four]: readonly number[][]): Line {
  const growth = three!.map((value, i) => value - two![i]!);
  const start = two!.map((value, i) => value - 2 * growth[i]!);
  if (four!.some((value, i) => value !== start[i]! + 4 * growth[i]!)) throw new Error('a shape does not grow linearly with the batch');
  return { start, growth };
}

function computed(made: Made, { start, growth }: Line): string {
  return remember(made, `linear ${start.join(' ')} / ${growth.join(' ')}`, name => {
    const product = `${name} product`;
    made.nodes.push(operation('Mul', [made.batch, keepIntegers(made, growth)], product), operation('Add', [product, keepIntegers(made, start)], name));
  });
}

function remember(made: Made, what: string, make: (name: string) => void): string {
  if (!made.values.has(what)) {
    made.values.set(what, what);
    make(what);
  }
  return what;
}

export function operation(opType: string, input: string[], output: string, attributes: Record<string, number | readonly number[]> = {}): NodeProto {
  return create(NodeProtoSchema, {
    opType, input, output: [output],
    attribute: Object.entries(attributes).map(([name, value]) => create(AttributeProtoSchema, typeof value === 'number'
      ? { name, i: BigInt(value), type: AttributeProto_AttributeType.INT } : { name, ints: value.map(BigInt), type: AttributeProto_AttributeType.INTS })),
  });
}

export function integerTensor(name: string, values: readonly number[]): TensorProto {
  return create(TensorProtoSchema, { name, dims: [BigInt(values.length)], dataType: TensorProto_DataType.INT64, rawData: new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer) });
}

function keepIntegers(made: Made, values: readonly number[]): string {
  return keep(made, integerTensor(`int64 ${values.join(' ')}`, values));
}

function keep({ initializers }: Made, tensor: TensorProto): string {
  if (!initializers.has(tensor.name!)) initializers.set(tensor.name!, tensor);
  return tensor.name!;
}

function integers({ rawData }: TensorProto): number[] {
  return Array.from(new BigInt64Array(rawData!.slice().buffer), Number);
}

function sameBytes(a: TensorProto, b: TensorProto): boolean {
  return a.dims.join() === b.dims.join() && a.dataType === b.dataType && Buffer.compare(a.rawData!, b.rawData!) === 0;
}
