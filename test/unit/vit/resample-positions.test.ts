import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { resamplePositions } from '../../../src/vit/resample-positions';
import goldens from '../../fixtures/positions.json';

describe('position embeddings on another grid', () => {
  for (const { source, target, width, positions, expected } of goldens) {
    it(`${source} x ${source} to ${target} x ${target} as PyTorch does it`, () => {
      const given = { shape: [1, 1 + source ** 2, width], data: Float32Array.from(positions) };
      const resampled = resamplePositions(given, target);
      assert.deepEqual(resampled.shape, [1, 1 + target ** 2, width]);
      const worst = Math.max(...expected.map((value, i) => Math.abs(value - resampled.data[i]!)));
      assert.ok(worst < 3e-6, `largest difference ${worst}`); // the golden is rounded to 1e-6
    });
  }
});
