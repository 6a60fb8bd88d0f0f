/**
 * A model that stands on its own: images in, logits out, any batch size, weights inside, and in its metadata how images
 * are prepared. Made from graphs whose input is the rows of patches (vit/forward.ts).
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Architecture, ChannelNormalization } from '../../common/trial';
import type { HostTensors } from '../program';
import type { NodeProto, TensorProto } from './generated/onnx_pb';
import { ModelProtoSchema, TensorProto_DataType, TensorProtoSchema, ValueInfoProtoSchema } from './generated/onnx_pb';
import { integerTensor, operation, symbolicBatch } from './symbolic-batch';

/** float-nchw: [batch, 3, size, size], normalised; uint8-nhwc: [batch, size, size, 3], RGB pixels, normalised by the model. */
export type ImageInput = 'float-nchw' | 'uint8-nhwc';

export interface StandaloneOptions {
  /** For batches of 2, 3 and 4: input `patches`, output `logits`, and every tensor as an input of its name. */
  graphs: readonly [Uint8Array, Uint8Array, Uint8Array];
  tensors: HostTensors;
  architecture: Architecture;
  normalization: ChannelNormalization;
  input: ImageInput;
  /** Beside what is said of the images. */
  metadata: Record<string, string>;
}

const inputName = 'images', batchName = 'batch size', patchesName = 'patches', outputName = 'logits';

/** Operator set 18, IR version 8, standard operators only. */
export function standaloneModel({ graphs, tensors, architecture, normalization, input, metadata }: StandaloneOptions): Uint8Array {
  const decoded = graphs.map(bytes => fromBinary(ModelProtoSchema, bytes).graph!) as [Graph, Graph, Graph];
  const used = new Set(decoded[0].input.map(({ name }) => name!));
  const { nodes, initializers } = symbolicBatch({ graphs: decoded, batch: batchName });
  const front = imageNodes(architecture, normalization, input);
  const weights = Object.entries(tensors).filter(([name]) => used.has(name)).map(([name, { shape, data }]) => create(TensorProtoSchema, {
    name, dims: shape.map(BigInt), dataType: TensorProto_DataType.FLOAT, rawData: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength),
  }));
  const size = architecture.imageSize, classes = tensors['head.bias']!.shape[0]!;
  return toBinary(ModelProtoSchema, create(ModelProtoSchema, {
    irVersion: 8n,
    producerName: 'peft-lab',
    opsetImport: [{ domain: '', version: 18n }],
    graph: {
      name: 'classifier',
      node: [...front.nodes, ...nodes],
      initializer: [...front.initializers, ...initializers, ...weights],
      input: [valueInfo(inputName, input === 'float-nchw' ? TensorProto_DataType.FLOAT : TensorProto_DataType.UINT8, input === 'float-nchw' ? [3, size, size] : [size, size, 3])],
      output: [valueInfo(outputName, TensorProto_DataType.FLOAT, [classes])],
    },
    metadataProps: Object.entries({ ...metadata, ...imageMetadata(size, normalization, input) }).map(([key, value]) => ({ key, value })),
  }));
}

type Graph = NonNullable<ReturnType<typeof fromBinary<typeof ModelProtoSchema>>['graph']>;

/** Images to rows of patches, `patch * batch + image`, columns [3, patch, patch]; and the batch size. */
function imageNodes({ imageSize, patch }: Architecture, normalization: ChannelNormalization, input: ImageInput): { nodes: NodeProto[]; initializers: TensorProto[] } {
  const side = imageSize / patch, isBytes = input === 'uint8-nhwc';
  const floats = (name: string, values: readonly number[]) => create(TensorProtoSchema, {
    name, dims: values.length === 1 ? [] : [BigInt(values.length)], dataType: TensorProto_DataType.FLOAT, rawData: new Uint8Array(Float32Array.from(values).buffer),
  });
  return {
    nodes: [
      operation('Shape', [inputName], batchName, { start: 0, end: 1 }),
      ...isBytes ? [
        operation('Cast', [inputName], 'pixels', { to: TensorProto_DataType.FLOAT }),
        operation('Div', ['pixels', '255'], 'fractions'),
        operation('Sub', ['fractions', 'mean'], 'centred'),
        operation('Div', ['centred', 'std'], 'normalised'),
      ] : [],
      operation('Reshape', [isBytes ? 'normalised' : inputName, 'cut shape'], 'cut'),
      operation('Transpose', ['cut'], 'placed', { perm: isBytes ? [1, 3, 0, 5, 2, 4] : [2, 4, 0, 1, 3, 5] }),
      operation('Reshape', ['placed', 'patch shape'], patchesName),
    ],
    initializers: [
      integerTensor('cut shape', isBytes ? [-1, side, patch, side, patch, 3] : [-1, 3, side, patch, side, patch]),
      integerTensor('patch shape', [-1, 3 * patch ** 2]),
      ...isBytes ? [floats('255', [255]), floats('mean', normalization.mean), floats('std', normalization.std)] : [],
    ],
  };
}

function imageMetadata(size: number, { mean, std }: ChannelNormalization, input: ImageInput): Record<string, string> {
  return {
    input_layout: input, color: 'RGB', image_size: String(size), interpolation: 'bicubic, antialiased, as Pillow resizes',
    normalization: input === 'float-nchw' ? 'images are (pixel / 255 - mean) / std' : 'done by the model',
    mean: JSON.stringify(mean), std: JSON.stringify(std),
  };
}

/** The first side is the batch, by name. */
function valueInfo(name: string, elemType: number, sides: readonly number[]) {
  return create(ValueInfoProtoSchema, {
    name, type: { tensorType: { elemType, shape: { dim: [{ dimParam: 'batch' }, ...sides.map(side => ({ dimValue: BigInt(side) }))] } } },
  });
}
