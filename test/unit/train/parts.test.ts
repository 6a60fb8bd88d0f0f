import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { engines } from '../../../src/engine/engines';
import { peakBytes } from '../../../src/engine/graph/memory';
import type { Node, Value } from '../../../src/engine/graph/nodes';
import { tf } from '../../../src/engine/tfjs';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import type { ModelSpec } from '../../../src/train/model';
import { chooseParts, memoryBudget, type PartOptions } from '../../../src/train/parts';
import { presets } from '../../../src/vit/presets';

function spec(arch: string, method: string, batch: number): ModelSpec {
  return { architecture: presets[arch]!, method: findMethod(method), options: parseMethodOptions(method, {}), classes: 10, batch, dropPath: 0.1, dropout: true };
}

const roomy: Omit<PartOptions, 'spec'> = { asked: { images: 'auto', recompute: 'auto' }, engine: engines.graph, budget: 2 ** 40, warn: message => { throw new Error(message); } };

describe('the memory of a list of nodes', () => {
  const value = (id: number, source?: Value['source']): Value => ({ id, shape: [10], dtype: 'float32', ...source && { source } });
  const node = (kernel: string, inputs: Value[], output: Value): Node => ({ kernel, inputs, outputs: [output], attributes: {} });

  it('counts what a view is of for as long as the view is read', () => {
    const [x, made, view, other, last, sum] = [value(0, { kind: 'feed', name: 'x' }), value(1), value(2), value(3), value(4), value(5)];
    const nodes = [
      node('Exp', [x], made), node('Reshape', [made], view), node('Neg', [x], other), node('Square', [other], last), node('Add', [view, last], sum),
    ];
    assert.equal(peakBytes({ nodes, inputs: new Map([['x', x]]), fetches: new Map([['sum', sum]]), updates: new Map() }), 3 * 40);
  });
});

describe('the parts of a step', () => {
  it('are a few images where a processor computes, and all where a device does', async () => {
    const tiny = spec('deit_tiny_patch16_224', 'lora', 16);
    assert.deepEqual((({ images, recompute }) => ({ images, recompute }))(await chooseParts({ spec: tiny, ...roomy })), { images: 4, recompute: 'off' });
    assert.equal((await chooseParts({ spec: tiny, ...roomy, engine: engines['graph-cuda'] })).images, 16);
    assert.equal((await chooseParts({ spec: spec('vit_base_patch16_224', 'lora', 8), ...roomy })).images, 2);
  });

  it('are larger on kernels of our own', async () => {
    assert.equal((await chooseParts({ spec: spec('deit_tiny_patch16_224', 'lora', 16), ...roomy, engine: engines.native })).images, 8);
    assert.equal((await chooseParts({ spec: spec('vit_base_patch16_224', 'lora', 8), ...roomy, engine: engines.native })).images, 4);
  });

  it('are as large with prompts, which are copied for each image but for a single one', async () => {
    assert.equal((await chooseParts({ spec: spec('deit_tiny_patch16_224', 'vpt-deep', 16), ...roomy, engine: engines.native })).images, 8);
    assert.equal((await chooseParts({ spec: spec('deit_tiny_patch16_224', 'vpt-shallow', 16), ...roomy, engine: engines.native })).images, 8);
  });

  it('are not small where adding up gradients costs more than it saves', async () => {
    assert.equal((await chooseParts({ spec: spec('deit_tiny_patch16_224', 'full', 16), ...roomy })).images, 4);
    assert.equal((await chooseParts({ spec: spec('vit_base_patch16_224', 'full', 8), ...roomy })).images, 8);
  });

  it('leave no part half empty', async () => {
    const { images } = await chooseParts({ spec: spec('deit_tiny_patch16_224', 'linear', 10), ...roomy, asked: { images: 4, recompute: 'off' } });
    assert.equal(images, 4); // 4, 4, 2
    assert.equal((await chooseParts({ spec: spec('deit_tiny_patch16_224', 'linear', 9), ...roomy, asked: { images: 6, recompute: 'off' } })).images, 5);
    assert.equal((await chooseParts({ spec: spec('deit_tiny_patch16_224', 'linear', 3), ...roomy, asked: { images: 64, recompute: 'off' } })).images, 3);
  });

  it('shrink with the memory, and recompute when one image is too large', async () => {
    const bitfit = spec('deit_tiny_patch16_224', 'bitfit', 16);
    const whole = await chooseParts({ spec: bitfit, ...roomy });
    const half = await chooseParts({ spec: bitfit, ...roomy, budget: whole.bytes * 0.6 });
    assert.equal(half.images, 2);
    const one = await chooseParts({ spec: bitfit, ...roomy, budget: half.bytes * 0.6 });
    assert.deepEqual([one.images, one.recompute], [1, 'off']);
    const again = await chooseParts({ spec: bitfit, ...roomy, budget: one.bytes * 0.7 });
    assert.notEqual(again.recompute, 'off');
    assert.ok(again.bytes <= one.bytes * 0.7);
    const least = await chooseParts({ spec: bitfit, ...roomy, budget: 1 });
    assert.deepEqual([least.images, least.recompute], [1, 'blocks']);
  });

  it('have weights built in where that leaves the session at half of what the step at once would take, and memory is free', async () => {
    const place = async (arch: string, method: string, batch: number, budget = roomy.budget) => (await chooseParts({ spec: spec(arch, method, batch), ...roomy, budget })).weights;
    assert.equal(await place('deit_tiny_patch16_224', 'lora', 16), 'built-in');
    assert.equal(await place('deit_tiny_patch16_224', 'linear', 16), 'built-in');
    assert.equal(await place('vit_base_patch16_224', 'lora', 8), 'fed');
    assert.equal(await place('vit_base_patch16_224', 'lora', 64), 'built-in');
    assert.equal(await place('vit_base_patch16_224', 'lora', 64, 2 ** 30), 'fed');
  });

  it('have weights built in wherever there is room, where an engine gains that much by it', async () => {
    const place = async (budget: number) => (await chooseParts({ spec: spec('vit_base_patch16_224', 'lora', 8), ...roomy, engine: engines.native, budget })).weights;
    assert.deepEqual([await place(roomy.budget), await place(2 ** 29)], ['built-in', 'fed']);
  });

  it('heed what the study asks for, whatever the memory', async () => {
    const { images, recompute } = await chooseParts({ spec: spec('deit_tiny_patch16_224', 'lora', 16), ...roomy, budget: 1, asked: { images: 8, recompute: 'attention' } });
    assert.deepEqual([images, recompute], [8, 'attention']);
  });

  it('are what is asked for, or the whole step, where a method\'s gradient cannot be traced', async () => {
    const plain = spec('deit_tiny_patch16_224', 'bitfit', 16);
    const negative = tf.customGrad(x => ({ value: tf.neg(x as tf.Tensor), gradFunc: dy => tf.cumsum(dy) }));
    const untraceable: ModelSpec = { ...plain, method: { ...plain.method, act: { headInput: x => negative(x) } } };
    const told: string[] = [];
    const choose = (images: number | 'auto') => chooseParts({ spec: untraceable, ...roomy, asked: { images, recompute: 'auto' }, warn: message => told.push(message) });
    assert.deepEqual([await choose('auto'), await choose(4)].map(({ images, recompute }) => [images, recompute]), [[16, 'off'], [4, 'off']]);
    assert.match(told.join(), /cannot be predicted.*no kernel 'Cumsum'/);
  });

  it('know what memory is left', () => {
    assert.ok(memoryBudget() > 2 ** 20);
  });
});
