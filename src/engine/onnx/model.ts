/** Building an ONNX model, as generated protobuf messages. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, toBinary } from '@bufbuild/protobuf';
import type { NodeProto } from './generated/onnx_pb';
import {
  AttributeProto_AttributeType, AttributeProtoSchema, ModelProtoSchema, NodeProtoSchema, TensorProto_DataLocation, TensorProto_DataType,
  TensorProtoSchema, ValueInfoProtoSchema,
} from './generated/onnx_pb';

export type OnnxType = 'float32' | 'float16' | 'bfloat16' | 'uint8' | 'bool' | 'int32' | 'int64';
export type OnnxAttribute = number | { float: number } | readonly number[];

/** A node; the domain is '' for standard operators and 'com.microsoft' for ONNX Runtime's own. */
export interface OnnxNode {
  operator: string;
  domain?: 'com.microsoft';
  inputs: readonly string[];
  outputs: readonly string[];
  attributes?: Record<string, OnnxAttribute>;
}

export interface OnnxTensor {
  name: string;
  shape: readonly number[];
  type: OnnxType;
}

/** A list of tensors. */
export interface OnnxSequence {
  name: string;
  sequenceOf: OnnxType;
}

export interface OnnxInitializer extends OnnxTensor {
  data: Float32Array | Uint8Array | Uint16Array | BigInt64Array;
  /** Left out of the model, which then names a file with these bytes alone: the tensor's name. */
  isExternal?: boolean;
}

export interface OnnxGraph {
  nodes: readonly OnnxNode[];
  initializers: readonly OnnxInitializer[];
  inputs: readonly OnnxTensor[];
  outputs: readonly (OnnxTensor | OnnxSequence)[];
}

/** Operator set 18, IR version 8: read by every ONNX Runtime since 1.14. */
export function encodeModel(graph: OnnxGraph): Uint8Array {
  return toBinary(ModelProtoSchema, create(ModelProtoSchema, {
    irVersion: 8n,
    producerName: 'peft-lab',
    opsetImport: [{ domain: '', version: 18n }, { domain: 'com.microsoft', version: 1n }],
    graph: {
      name: 'program',
      node: graph.nodes.map(encodeNode),
      initializer: graph.initializers.map(encodeInitializer),
      input: graph.inputs.map(encodeValueInfo),
      output: graph.outputs.map(encodeValueInfo),
    },
  }));
}

function encodeNode({ operator, domain, inputs, outputs, attributes = {} }: OnnxNode): NodeProto {
  return create(NodeProtoSchema, {
    opType: operator, input: [...inputs], output: [...outputs], ...(domain && { domain }),
    attribute: Object.entries(attributes).map(([name, value]) => create(AttributeProtoSchema, { name, ...encodeAttribute(value) })),
  });
}

function encodeAttribute(value: OnnxAttribute): MessageInitShape<typeof AttributeProtoSchema> {
  if (typeof value === 'number') return { i: BigInt(value), type: AttributeProto_AttributeType.INT };
  if ('float' in value) return { f: value.float, type: AttributeProto_AttributeType.FLOAT };
  return { ints: value.map(BigInt), type: AttributeProto_AttributeType.INTS };
}

/** The numbers by which the format calls the types, also as Cast's attribute `to`. */
export const dataTypes = {
  float32: TensorProto_DataType.FLOAT, float16: TensorProto_DataType.FLOAT16, bfloat16: TensorProto_DataType.BFLOAT16,
  uint8: TensorProto_DataType.UINT8, bool: TensorProto_DataType.BOOL, int32: TensorProto_DataType.INT32, int64: TensorProto_DataType.INT64,
} satisfies Record<OnnxType, TensorProto_DataType>;

function encodeInitializer({ name, shape, type, data, isExternal = false }: OnnxInitializer) {
  const where = { location: name, offset: '0', length: String(data.byteLength) };
  return create(TensorProtoSchema, {
    name, dims: shape.map(BigInt), dataType: dataTypes[type],
    ...isExternal
      ? { dataLocation: TensorProto_DataLocation.EXTERNAL, externalData: Object.entries(where).map(([key, value]) => ({ key, value })) }
      : { rawData: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength) },
  });
}

function encodeValueInfo(value: OnnxTensor | OnnxSequence) {
  return create(ValueInfoProtoSchema, {
    name: value.name,
    type: 'sequenceOf' in value ? { sequenceType: { elemType: { tensorType: { elemType: dataTypes[value.sequenceOf] } } } }
      : { tensorType: { elemType: dataTypes[value.type], shape: { dim: value.shape.map(d => ({ dimValue: BigInt(d) })) } } },
  });
}
