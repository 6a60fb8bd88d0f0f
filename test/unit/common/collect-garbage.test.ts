import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { collectGarbage } from '../../../src/common/collect-garbage';

it('frees arrays that nothing refers to', async () => {
  const held = () => process.memoryUsage().arrayBuffers / 2 ** 20;
  /** In a function of its own: a frame may hold on to what its variables were. */
  const before = (() => {
    new Float32Array(2 ** 24).fill(1);
    return held();
  })();
  // V8 gives the arrays' memory back in a thread of its own, which a busy machine lets wait.
  const end = Date.now() + 20_000;
  collectGarbage();
  while (held() > before - 60 && Date.now() < end) {
    await sleep(20);
    collectGarbage();
  }
  assert.ok(held() < before - 60, `${held()} MiB of ${before} are left`);
});
