import assert from 'node:assert/strict';
import { it } from 'node:test';
import { encodeModel } from '../../../src/engine/onnx/model';
import { runUncopied, sparesCopies, unreturnable } from '../../../src/engine/onnx/uncopied';

it('the package computes before it refuses to return: a version that does not would cost full fine-tuning a gigabyte', async () => {
  assert.equal(await sparesCopies(await import('onnxruntime-node')), true);
});

it('a run computes into the memory that it is given', async () => {
  const { run, floats } = await negation();
  const y = floats([0, 0]);
  await run({ x: floats([1, -2]) }, { y });
  assert.deepEqual([...y.data as Float32Array], [-1, 2]);
  const x = floats([3, 4]);
  await run({ x }, { y: x });
  assert.deepEqual([...x.data as Float32Array], [-3, -4]);
});

it('errors of a run are its own', async () => {
  const { run, floats } = await negation();
  await assert.rejects(run({ x: floats([1, 2, 3]) }, { y: floats([0, 0, 0]) }), /invalid dimensions|INVALID_ARGUMENT/i);
  await assert.rejects(run({}, { y: floats([0, 0]) }), /'x' is missing/);
});

async function negation() {
  const ort = await import('onnxruntime-node');
  const pair = (name: string) => ({ name, shape: [2], type: 'float32' as const });
  const session = await ort.InferenceSession.create(encodeModel({
    nodes: [...unreturnable.nodes, { operator: 'Neg', inputs: ['x'], outputs: ['y'] }], initializers: [], inputs: [pair('x')], outputs: [...unreturnable.outputs, pair('y')],
  }), { logSeverityLevel: 4 });
  type Tensors = Parameters<typeof runUncopied>[1];
  return {
    run: (inputs: Tensors, outputs: Tensors) => runUncopied(session, inputs, outputs),
    floats: (values: number[]) => new ort.Tensor('float32', Float32Array.from(values), [values.length]),
  };
}
