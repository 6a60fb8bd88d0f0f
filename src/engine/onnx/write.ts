/** The neutral list as an ONNX model for ONNX Runtime. */
import { UserError } from '../../common/errors';
import type { Trace, Value } from '../graph/nodes';
import { sizeOf } from '../graph/nodes';
import type { HostTensors } from '../program';
import { GraphBuilder } from './builder';
import type { OnnxNode, OnnxTensor } from './model';
import { encodeModel } from './model';
import { floatType, operators, type Operator } from './operators';
import { unreturnable } from './uncopied';

/** What a runtime's kernels ask for. */
export interface Dialect {
  operators: Record<string, Operator>;
  /** How masks are fed: one byte an element either way. */
  masks: 'uint8' | 'bool';
}

/** ONNX Runtime on processors and CUDA. */
export const standardDialect: Dialect = { operators, masks: 'uint8' };

export interface WriteOptions {
  /** standardDialect when absent. */
  dialect?: Dialect;
  /** What asks for the model, for errors: `engine graph`. */
  where: string;
  constants: HostTensors;
  /**
   * Initializers are prepacked and fast, in the model or, `external`, in arrays that are handed over beside it (externalConstants);
   * feeds are shared between models and not copied.
   */
  constantsAs: 'initializers' | 'external' | 'feeds';
  /** Begins the outputs with one that a run asks for so as to be spared copies of the others; see uncopied.ts. */
  unreturnable?: boolean;
}

/** The model and how its inputs and outputs are called: a feed, state or constant by its own name, an update as `name'`. */
export function writeOnnx(trace: Trace, options: WriteOptions): Uint8Array {
  const graph = new GraphBuilder();
  const { operators: table } = options.dialect ?? standardDialect;
  const names = new Map<Value, string>();
  const inputs: OnnxTensor[] = [];
  const nameOf = (value: Value): string => {
    if (!names.has(value)) names.set(value, declare(value, { graph, inputs, options }));
    return names.get(value)!;
  };
  for (const node of trace.nodes) {
    const operator = table[node.kernel];
    if (!operator) throw new UserError({ what: `the ONNX writer has no operator for kernel '${node.kernel}'`, where: options.where });
    operator(graph, node.inputs.map(nameOf), node).forEach((name, i) => names.set(node.outputs[i]!, name));
  }
  const { outputs, nodes } = nameOutputs(trace, graph, nameOf);
  const first = options.unreturnable ? unreturnable : { outputs: [], nodes: [] };
  // ONNX Runtime walks back from the last leaf and takes the latest input first: in reverse, the list runs in our order.
  return encodeModel({
    nodes: [...first.nodes, ...[...nodes].reverse()], initializers: [...graph.initializers.values()], inputs, outputs: [...first.outputs, ...outputs],
  });
}

export function updateName(state: string): string {
  return `${state}'`;
}

interface DeclareContext { graph: GraphBuilder; inputs: OnnxTensor[]; options: WriteOptions }

function declare(value: Value, { graph, inputs, options }: DeclareContext): string {
  const { source, shape, dtype } = value;
  if (!source) throw new Error(`value ${value.id} is read before it is made`);
  if (source.kind === 'literal') return declareLiteral(value, graph);
  const { masks } = options.dialect ?? standardDialect;
  const tensor: OnnxTensor = { name: source.name, shape, type: dtype === 'bool' ? masks : floatType(value) };
  if (source.kind === 'constant' && options.constantsAs !== 'feeds') {
    return graph.constant(source.name, { ...tensor, data: options.constants[source.name]!.data, isExternal: options.constantsAs === 'external' });
  }
  inputs.push(tensor);
  return source.name;
}

function declareLiteral({ id, shape, source }: Value, graph: GraphBuilder): string {
  if (source?.kind !== 'literal') throw new Error('not a literal');
  if (source.uniform === null) return graph.constant(`literal ${id}`, { shape, type: 'float32', data: Float32Array.from(source.data) });
  if (sizeOf(shape) === 1) return shape.length ? graph.filled(source.uniform, shape) : graph.scalar(source.uniform);
  return graph.op('Expand', [graph.scalar(source.uniform), graph.int64s(shape)]);
}

/** The node that makes an output makes it under the output's name; what no node makes, or two outputs share, is copied. */
function nameOutputs(trace: Trace, graph: GraphBuilder, nameOf: (value: Value) => string): { outputs: OnnxTensor[]; nodes: OnnxNode[] } {
  const named = [...[...trace.updates].map(([name, value]) => [updateName(name), value] as const), ...trace.fetches];
  const renamed = new Map<string, string>();
  const outputs = named.map(([name, value]): OnnxTensor => {
    const made = nameOf(value);
    const free = !renamed.has(made) && graph.nodes.some(node => node.outputs.includes(made));
    if (free) renamed.set(made, name);
    else graph.nodes.push({ operator: 'Identity', inputs: [made], outputs: [name] });
    return { name, shape: value.shape, type: 'float32' };
  });
  const rename = (name: string) => renamed.get(name) ?? name;
  return { outputs, nodes: graph.nodes.map(node => ({ ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) })) };
}
