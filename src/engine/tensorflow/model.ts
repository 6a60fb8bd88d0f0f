/** Building a TensorFlow SavedModel, as generated protobuf messages. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, toBinary } from '@bufbuild/protobuf';
import type { AttrValueSchema } from './generated/saved-model_pb';
import { DataType, SavedModelSchema } from './generated/saved-model_pb';

export type TfType = 'float32' | 'int32' | 'bool' | 'float16' | 'bfloat16' | 'resource';

export type TfAttribute =
  | { type: TfType } | { types: readonly TfType[] } | { int: number } | { bool: boolean } | { text: string } | { shape: readonly number[] }
  | { function: string } | { tensor: TfConstant };

export interface TfConstant {
  type: 'float32' | 'int32' | 'bool';
  shape: readonly number[];
  data: Float32Array | Int32Array | Uint8Array;
}

/** Inputs are `node:output name:index` inside a function, `node:index` outside; `^node` waits for a node without reading it. */
export interface TfNode {
  name: string;
  operator: string;
  inputs: readonly string[];
  attributes: Record<string, TfAttribute>;
}

export interface TfFunction {
  name: string;
  inputs: readonly { name: string; type: TfType }[];
  /** `from` is the output of a node that the function returns under this name. */
  outputs: readonly { name: string; type: TfType; from: string }[];
  nodes: readonly TfNode[];
  /** Whether XLA has to compile it. */
  compiled: boolean;
}

export interface TfGraph {
  nodes: readonly TfNode[];
  functions: readonly TfFunction[];
}

/** The graph's version: what TensorFlow 2.21 writes, readable since 1.12. */
const versions = { producer: 1882, minConsumer: 12 };

/** The tag under which the graph is found in the file. */
export const servingTag = 'serve';

/** saved_model.pb; a SavedModel is a folder that holds it. */
export function encodeSavedModel({ nodes, functions }: TfGraph): Uint8Array {
  return toBinary(SavedModelSchema, create(SavedModelSchema, {
    savedModelSchemaVersion: 1n,
    metaGraphs: [{
      metaInfoDef: { tags: [servingTag] },
      graphDef: { node: nodes.map(encodeNode), library: { function: functions.map(encodeFunction) }, versions },
    }],
  }));
}

/** What makes XLA compile a function, on the function and on the node that calls it. */
export function compileAttributes(compiled: boolean): Record<string, TfAttribute> {
  return compiled ? { _XlaMustCompile: { bool: true } } : {};
}

function encodeFunction({ name, inputs, outputs, nodes, compiled }: TfFunction) {
  return {
    signature: {
      name, isStateful: true,
      inputArg: inputs.map(input => ({ name: input.name, type: dataTypes[input.type] })),
      outputArg: outputs.map(output => ({ name: output.name, type: dataTypes[output.type] })),
    },
    attr: encodeAttributes(compileAttributes(compiled)),
    nodeDef: nodes.map(encodeNode),
    ret: Object.fromEntries(outputs.map(output => [output.name, output.from])),
  };
}

function encodeNode({ name, operator, inputs, attributes }: TfNode) {
  return { name, op: operator, input: [...inputs], attr: encodeAttributes(attributes) };
}

function encodeAttributes(attributes: Record<string, TfAttribute>) {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, { value: encodeAttribute(value) }]));
}

type AttributeValue = NonNullable<MessageInitShape<typeof AttrValueSchema>['value']>;

function encodeAttribute(value: TfAttribute): AttributeValue {
  if ('type' in value) return { case: 'type', value: dataTypes[value.type] };
  if ('types' in value) return { case: 'list', value: { type: value.types.map(t => dataTypes[t]) } };
  if ('int' in value) return { case: 'i', value: BigInt(value.int) };
  if ('bool' in value) return { case: 'b', value: value.bool };
  if ('text' in value) return { case: 's', value: new TextEncoder().encode(value.text) };
  if ('shape' in value) return { case: 'shape', value: encodeShape(value.shape) };
  if ('function' in value) return { case: 'func', value: { name: value.function } };
  const { type, shape, data } = value.tensor;
  const tensorContent = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  return { case: 'tensor', value: { dtype: dataTypes[type], tensorShape: encodeShape(shape), tensorContent } };
}

function encodeShape(shape: readonly number[]) {
  return { dim: shape.map(size => ({ size: BigInt(size) })) };
}

const dataTypes = {
  float32: DataType.DT_FLOAT, int32: DataType.DT_INT32, bool: DataType.DT_BOOL, float16: DataType.DT_HALF,
  bfloat16: DataType.DT_BFLOAT16, resource: DataType.DT_RESOURCE,
} satisfies Record<TfType, DataType>;
