import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import type { ModelSpec } from '../../../src/train/model';
import { chooseParts, memoryBudget, type PartOptions } from '../../../src/train/parts';
import { presets } from '../../../src/vit/presets';

function spec(arch: string, method: string, batch: number): ModelSpec {
  return { architecture: presets[arch]!, method: findMethod(method), options: parseMethodOptions(method, {}), classes: 10, batch, dropPath: 0.1, dropout: true };
}

const roomy: Pick<PartOptions, 'asked' | 'onProcessor' | 'budget'> = { asked: { images: 'auto', recompute: 'auto' }, onProcessor: true, budget: 2 ** 40 };

describe('the parts of a step', () => {
  it('are a few images where a processor computes, and all where a device does', async () => {
    const tiny = spec('deit_tiny_patch16_224', 'lora', 16);
    assert.deepEqual((({ images, recompute }) => ({ images, recompute }))(await chooseParts({ spec: tiny, ...roomy })), { images: 4, recompute: 'off' });
    assert.equal((await chooseParts({ spec: tiny, ...roomy, onProcessor: false })).images, 16);
    assert.equal((await chooseParts({ spec: spec('vit_base_patch16_224', 'lora', 8), ...roomy })).images, 2);
  });

  it('leave no part half empty', async () => {
    const { images } = await chooseParts({ spec: spec('deit_tiny_patch16_224', 'linear', 10), ...roomy, asked: { images: 4, recompute: 'off' } });
    assert.equal(images, 4); // 4, 4, 2
    assert.equal((await chooseParts({ spec: spec('deit_tiny_patch16_224', 'linear', 9), ...roomy, asked: { images: 6, recompute: 'off' } })).images, 5);
    assert.equal((await chooseParts({ spec: spec('deit_tiny_patch16_224', 'linear', 3), ...roomy, asked: { images: 64, recompute: 'off' } })).images, 3);
  });

  it('shrink with the memory, and recompute when one image is too large', async () => {
    const full = spec('deit_tiny_patch16_224', 'full', 16);
    const whole = await chooseParts({ spec: full, ...roomy });
    const half = await chooseParts({ spec: full, ...roomy, budget: whole.bytes * 0.6 });
    assert.equal(half.images, 2);
    const one = await chooseParts({ spec: full, ...roomy, budget: half.bytes * 0.6 });
    assert.deepEqual([one.images, one.recompute], [1, 'off']);
    const again = await chooseParts({ spec: full, ...roomy, budget: one.bytes * 0.7 });
    assert.notEqual(again.recompute, 'off');
    assert.ok(again.bytes <= one.bytes * 0.7);
    const least = await chooseParts({ spec: full, ...roomy, budget: 1 });
    assert.deepEqual([least.images, least.recompute], [1, 'blocks']);
  });

  it('heed what the study asks for, whatever the memory', async () => {
    const { images, recompute } = await chooseParts({ spec: spec('deit_tiny_patch16_224', 'lora', 16), ...roomy, budget: 1, asked: { images: 8, recompute: 'attention' } });
    assert.deepEqual([images, recompute], [8, 'attention']);
  });

  it('know what memory is left', () => {
    assert.ok(memoryBudget() > 2 ** 20);
  });
});
