import assert from 'node:assert/strict';
import { it } from 'node:test';
import { collectGarbage } from '../../../src/common/collect-garbage';

it('frees arrays that nothing refers to', () => {
  const held = () => process.memoryUsage().arrayBuffers / 2 ** 20;
  /** In a function of its own: a frame may hold on to what its variables were. */
  const before = (() => {
    new Float32Array(2 ** 24).fill(1);
    return held();
  })();
  collectGarbage();
  assert.ok(held() < before - 60, `${held()} MiB of ${before} are left`);
});
