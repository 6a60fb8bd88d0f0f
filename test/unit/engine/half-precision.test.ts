/** Where casts stand when products are made in a lower precision. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inPrecision } from '../../../src/engine/graph/half-precision';
import { hoistCasts } from '../../../src/engine/graph/hoist-casts';
import type { Trace } from '../../../src/engine/graph/nodes';
import { optimize } from '../../../src/engine/graph/passes';
import { trace } from '../../../src/engine/graph/trace';
import type { HostTensors, Program } from '../../../src/engine/program';
import { tf } from '../../../src/engine/tfjs';

const matrix = (rows: number, columns: number) => ({ shape: [rows, columns], data: new Float32Array(rows * columns) });

/** y = relu(x w) v + x, and x u: two products in a row with an activation between, and a second reader of x. */
const program: Program = {
  feeds: [{ name: 'x', shape: [3, 4], dtype: 'float32' }],
  run: ({ x, w, v, u }) => ({ fetches: { y: tf.add(tf.matMul(tf.relu(tf.matMul(x!, w!)) as never, v as never), x!), z: tf.matMul(x as never, tf.matMul(w as never, u as never)) }, state: {} }),
};
const constants: HostTensors = { w: matrix(4, 4), v: matrix(4, 4), u: matrix(4, 4) };

async function traced(): Promise<Trace> {
  return optimize(await trace({ program, state: {}, constants }));
}

const kernels = ({ nodes }: Trace) => nodes.map(({ kernel, outputs }) => `${kernel} ${outputs[0]!.dtype}`).sort();

describe('products in a lower precision', () => {
  it('are made in it from rounded operands; everything else is f32', async () => {
    const before = await traced();
    assert.deepEqual(kernels(before), ['BatchMatMul float32', 'BatchMatMul float32', 'BatchMatMul float32', 'MatMulAdd float32', 'Relu float32']);
    for (const [precision, type] of [['f16', 'float16'], ['bf16', 'bfloat16']] as const) {
      const after = inPrecision(before, precision);
      const down = Array<string>(5).fill(`Cast ${type}`); // x once for its two products, relu(x w), w, v, u
      const up = Array<string>(3).fill('Cast float32'); // x w for the activation, y's product for the sum, z
      assert.deepEqual(kernels(after), ['Add float32', ...Array<string>(4).fill(`BatchMatMul ${type}`), ...up, ...down, 'Relu float32'].sort());
      for (const value of after.fetches.values()) assert.equal(value.dtype, 'float32');
      for (const { kernel, inputs } of after.nodes) if (kernel === 'BatchMatMul') assert.ok(inputs.every(({ dtype }) => dtype === type));
    }
  });

  it('leave a trace alone where they are f32 or tf32', async () => {
    const before = await traced();
    assert.equal(inPrecision(before, 'f32'), before);
    assert.equal(inPrecision(before, 'tf32'), before);
  });

  it('casts of constants can be done once, outside the program', async () => {
    const { trace: hoisted, casts } = hoistCasts(inPrecision(await traced(), 'f16'));
    assert.deepEqual([...casts.values()].sort((a, b) => a.constant.localeCompare(b.constant)), ['u', 'v', 'w'].map(constant => ({ constant, type: 'float16' })));
    assert.equal(kernels(hoisted).filter(kernel => kernel === 'Cast float16').length, 2);
    for (const name of casts.keys()) assert.equal(hoisted.inputs.get(name)!.dtype, 'float16');
  });
});
