import assert from 'node:assert/strict';
import { it } from 'node:test';
import { collectGarbage } from '../../../src/common/collect-garbage';

it('frees arrays that nothing refers to', () => {
  const held = () => process.memoryUsage().arrayBuffers / 2 ** 20;
  let array: Float32Array | null = new Float32Array(2 ** 24).fill(1);
  const before = held();
  assert.equal(array.length, 2 ** 24);
  array = null;
  collectGarbage();
  assert.ok(held() < before - 60, `${held()} MiB of ${before} are left`);
});
