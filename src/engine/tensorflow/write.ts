/**
 * The neutral lists of a session's programs as one TensorFlow SavedModel: a function each, called with its feeds and the
 * variables that it reads or writes. State and constants are resource variables, which live in the session and are
 * shared by its functions; their values come in by assignment, so that the file holds none.
 */
import { UserError } from '../../common/errors';
import type { Trace, Value } from '../graph/nodes';
import { sizeOf } from '../graph/nodes';
import type { DType } from '../program';
import { FunctionBuilder } from './builder';
import type { TfFunction, TfNode, TfType } from './model';
import { compileAttributes, encodeSavedModel } from './model';
import { operators } from './operators';

export interface WriteOptions {
  /** Whether XLA compiles the functions; TensorFlow runs them node by node otherwise. */
  compiled: boolean;
  /** The format of the operands of matrix products. */
  products: 'float32' | 'bfloat16';
}

/** A model and how what it takes and gives is called in a run of its session. */
export interface WrittenModel {
  bytes: Uint8Array;
  programs: Map<string, WrittenProgram>;
  /** Of state and constants, by name. */
  variables: Map<string, WrittenVariable>;
}

export interface WrittenProgram {
  /** What is fed: float32 as int32 of the same bits, which TensorFlow does not carry to a device and back. */
  feeds: { name: string; placeholder: string; shape: readonly number[]; dtype: DType }[];
  /** What is fetched, at least one output: a run without any does nothing. `name` is null for an output that only makes the run happen. */
  fetches: { name: string | null; output: string; shape: readonly number[] }[];
}

export interface WrittenVariable {
  shape: readonly number[];
  placeholder: string;
  /** Fetching it assigns what is fed to the placeholder. */
  assigned: string;
  value: string;
}

/** Every program with the same state and constants. Throws a UserError that names a kernel which has no operator. */
export function writeSavedModel(traces: ReadonlyMap<string, Trace>, options: WriteOptions): WrittenModel {
  const top: TfNode[] = [];
  const handles = new Map<string, string>();
  for (const trace of traces.values()) {
    for (const [name, { source, shape }] of trace.inputs) {
      if (source?.kind === 'feed' || handles.has(name)) continue; // all programs have the same state and constants
      handles.set(name, `v${handles.size}`);
      top.push(...variableNodes(handles.get(name)!, shape));
    }
  }
  const functions: TfFunction[] = [];
  const programs = new Map([...traces].map(([name, trace], index) => {
    const written = writeFunction(trace, { ...options, name: `program${index}` });
    functions.push(written.function);
    const { nodes, program } = callNodes(written, { trace, handles });
    top.push(...nodes);
    return [name, program] as const;
  }));
  const shapes = new Map([...traces.values()].flatMap(trace => [...trace.inputs]).map(([name, { shape }]) => [name, shape]));
  const variables = new Map([...handles].map(([name, handle]) => [name, describeVariable(handle, shapes.get(name)!)]));
  return { bytes: encodeSavedModel({ nodes: top, functions }), programs, variables };
}

function variableNodes(handle: string, shape: readonly number[]): TfNode[] {
  const [dtype, T] = [{ type: 'float32' }, { type: 'float32' }] as const;
  return [
    { name: handle, operator: 'VarHandleOp', inputs: [], attributes: { dtype, shape: { shape }, shared_name: { text: handle }, container: { text: '' } } },
    { name: `${handle}_value`, operator: 'ReadVariableOp', inputs: [handle], attributes: { dtype } },
    { name: `${handle}_placeholder`, operator: 'Placeholder', inputs: [], attributes: { dtype, shape: { shape } } },
    // The fed array belongs to JavaScript, which may change it and must free it itself: the variable gets a copy.
    { name: `${handle}_copy`, operator: 'DeepCopy', inputs: [`${handle}_placeholder`], attributes: { T } },
    { name: `${handle}_assign`, operator: 'AssignVariableOp', inputs: [handle, `${handle}_copy`], attributes: { dtype } },
    {
      name: `${handle}_assigned`, operator: 'Const', inputs: [`^${handle}_assign`],
      attributes: { dtype: { type: 'int32' }, value: { tensor: { type: 'int32', shape: [], data: Int32Array.of(1) } } },
    },
  ];
}

function describeVariable(handle: string, shape: readonly number[]): WrittenVariable {
  return { shape, placeholder: `${handle}_placeholder:0`, assigned: `${handle}_assigned:0`, value: `${handle}_value:0` };
}

interface WrittenFunction {
  function: TfFunction;
  feeds: string[];
  variables: string[];
  fetches: string[];
}

/** The nodes of a program; its arguments are the feeds and variables that something reads or writes. */
function writeFunction(trace: Trace, { name, compiled, products }: WriteOptions & { name: string }): WrittenFunction {
  const graph = new FunctionBuilder(products);
  const [feeds, variables]: [Set<string>, Set<string>] = [new Set(), new Set()];
  const variable = (name: string) => {
    variables.add(name);
    return variableArgument([...variables].indexOf(name));
  };
  const names = new Map<Value, string>();
  const nameOf = (value: Value): string => {
    if (!names.has(value)) names.set(value, declare(value, { graph, feeds, variable }));
    return names.get(value)!;
  };
  for (const node of trace.nodes) {
    const operator = operators[node.kernel];
    if (!operator) throw new UserError({ what: `the TensorFlow writer has no operator for kernel '${node.kernel}'`, where: 'engine tensorflow' });
    operator(graph, node.inputs.map(nameOf), node).forEach((made, i) => names.set(node.outputs[i]!, made));
  }
  const updates = [...trace.updates].map(([name, value]) => [variable(name), nameOf(value)] as const);
  const values = [...trace.fetches.values()].map(value => ({ value: nameOf(value), type: value.dtype as TfType }));
  const assigned = updates.map(([handle, value]) => graph.assignVariable(handle, value));
  const results = values.length ? values : [{ value: graph.scalar(1), type: 'float32' as const }];
  const outputs = results.map(({ value, type }, i) => ({ name: `r${i}`, type, from: graph.result(value, type, assigned) }));
  const dtypeOf = (name: string) => trace.inputs.get(name)!.dtype as TfType;
  const inputs = [
    ...[...feeds].map((name, i) => ({ name: feedArgument(i), type: dtypeOf(name) })),
    ...[...variables].map((_, i) => ({ name: variableArgument(i), type: 'resource' as const })),
  ];
  return { function: { name, inputs, outputs, nodes: graph.nodes, compiled }, feeds: [...feeds], variables: [...variables], fetches: [...trace.fetches.keys()] };
}

const feedArgument = (index: number) => `f${index}`;
const variableArgument = (index: number) => `v${index}`;

interface DeclareContext { graph: FunctionBuilder; feeds: Set<string>; variable(name: string): string }

function declare(value: Value, { graph, feeds, variable }: DeclareContext): string {
  const { source } = value;
  if (!source) throw new Error(`value ${value.id} is read before it is made`);
  if (source.kind === 'literal') return declareLiteral(value, graph);
  if (source.kind !== 'feed') return graph.readVariable(variable(source.name));
  feeds.add(source.name);
  return feedArgument([...feeds].indexOf(source.name));
}

function declareLiteral({ id, shape, source, dtype }: Value, graph: FunctionBuilder): string {
  if (source?.kind !== 'literal') throw new Error('not a literal');
  if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool') throw new Error(`a literal of type ${dtype}`);
  if (source.uniform !== null && dtype === 'float32') return shape.length ? graph.filled(source.uniform, shape) : graph.scalar(source.uniform);
  const arrays = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };
  const data = source.uniform === null ? arrays[dtype].from(source.data) : new arrays[dtype](sizeOf(shape)).fill(source.uniform);
  return graph.constant({ type: dtype, shape, data }, `literal ${id}`);
}

/** The call of a function, with a placeholder for each feed. */
function callNodes(written: WrittenFunction, { trace, handles }: { trace: Trace; handles: Map<string, string> }): { nodes: TfNode[]; program: WrittenProgram } {
  const { name, inputs, outputs, compiled } = written.function;
  const nodes: TfNode[] = [];
  const given: string[] = [];
  const feeds = written.feeds.map((feed, i): WrittenProgram['feeds'][number] => {
    const { shape, dtype } = trace.inputs.get(feed)!;
    const placeholder = `${name}_feed${i}`;
    const isBits = dtype === 'float32';
    nodes.push({ name: placeholder, operator: 'Placeholder', inputs: [], attributes: { dtype: { type: isBits ? 'int32' : 'bool' }, shape: { shape } } });
    if (isBits) nodes.push({ name: `${placeholder}_float`, operator: 'Bitcast', inputs: [placeholder], attributes: { T: { type: 'int32' }, type: { type: 'float32' } } });
    given.push(isBits ? `${placeholder}_float` : placeholder);
    return { name: feed, placeholder: `${placeholder}:0`, shape, dtype: dtype as DType };
  });
  given.push(...written.variables.map(variable => handles.get(variable)!));
  nodes.push({
    name: `${name}_call`, operator: 'StatefulPartitionedCall', inputs: given,
    attributes: {
      Tin: { types: inputs.map(({ type }) => type) }, Tout: { types: outputs.map(({ type }) => type) }, f: { function: name },
      ...compileAttributes(compiled),
    },
  });
  const fetches = outputs.map((_, i) => {
    const fetched = written.fetches[i] ?? null;
    return { name: fetched, output: `${name}_call:${i}`, shape: fetched === null ? [] : trace.fetches.get(fetched)!.shape };
  });
  return { nodes, program: { feeds, fetches } };
}
