import assert from 'node:assert/strict';
import { it } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema } from '../../../src/engine/onnx/generated/onnx_pb';
import { encodeModel } from '../../../src/engine/onnx/model';
import { kernelShapes } from '../../../src/engine/graph/kernel-shapes';
import { operators } from '../../../src/engine/onnx/operators';

it('a model says what it was told', () => {
  const model = fromBinary(ModelProtoSchema, encodeModel({
    nodes: [{ operator: 'Gemm', inputs: ['x', 'w'], outputs: ['y'], attributes: { transB: 1, transA: 0, alpha: { float: 0.5 }, axes: [1, 2] } }],
    initializers: [{ name: 'w', shape: [1, 2], type: 'float32', data: Float32Array.of(1, 2) }],
    inputs: [{ name: 'x', shape: [3, 2], type: 'float32' }],
    outputs: [{ name: 'y', shape: [3, 1], type: 'float32' }],
  }));
  const graph = model.graph!;
  assert.deepEqual(model.opsetImport.map(o => [o.domain, o.version]), [['', 18n], ['com.microsoft', 1n]]);
  assert.deepEqual(graph.node[0]!.attribute.map(a => [a.name, a.i ?? a.f ?? a.ints]), [['transB', 1n], ['transA', 0n], ['alpha', 0.5], ['axes', [1n, 2n]]]);
  assert.deepEqual([...new Float32Array(graph.initializer[0]!.rawData!.slice().buffer)], [1, 2]);
  assert.deepEqual(graph.input[0]!.type!.tensorType!.shape!.dim.map(d => d.dimValue), [3n, 2n]);
});

it('every kernel that can be traced can be written', () => {
  const missing = Object.keys(kernelShapes).filter(kernel => !operators[kernel]);
  assert.deepEqual(missing, []);
});
