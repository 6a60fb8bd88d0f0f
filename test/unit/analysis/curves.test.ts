import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mergeSteps, thinLossCurve } from '../../../src/analysis/curves';

const line = (count: number) => Array.from({ length: count }, (_, i) => ({ step: i + 1, loss: i }));

describe('thinLossCurve', () => {
  it('leaves a short curve as it is', () => assert.deepEqual(thinLossCurve(line(10), 10), line(10)));

  it('averages groups and ends at the last step', () => {
    assert.deepEqual(thinLossCurve(line(6), 3), [{ step: 2, loss: 0.5 }, { step: 4, loss: 2.5 }, { step: 6, loss: 4.5 }]);
  });

  it('meets the limit whatever the length', () => {
    for (const count of [401, 799, 12_345]) {
      const thin = thinLossCurve(line(count));
      assert.equal(thin.length, 400);
      assert.equal(thin.at(-1)!.step, count);
      assert.ok(thin.every(p => Number.isFinite(p.loss)));
    }
  });

  it('leaves out losses that are not finite', () => {
    assert.deepEqual(thinLossCurve([{ step: 1, loss: 1 }, { step: 2, loss: NaN }]), [{ step: 1, loss: 1 }]);
  });
});

describe('mergeSteps', () => {
  it('lets a resumed attempt overwrite what it repeats', () => {
    const merged = mergeSteps([{ step: 1, from: 'a' }, { step: 2, from: 'a' }, { step: 3, from: 'a' }, { step: 2, from: 'b' }]);
    assert.deepEqual(merged.map(p => `${p.step}${p.from}`), ['1a', '2b', '3a']);
  });
});
