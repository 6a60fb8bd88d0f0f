import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crop, resize } from '../../../src/data/resize';
import golden from '../../fixtures/data/pillow-bicubic.json';

/** The images that the golden was made from: the same integer hash on both sides. */
function image(width: number, height: number, seed: number) {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const x = (Math.imul(i, 2654435761) + Math.imul(seed, 40503)) >>> 0;
    return (((x >>> 15) ^ x) >>> 7) & 255;
  });
  return { data, width, height };
}

describe('bicubic resize', () => {
  for (const { from, to, seed, pixels } of golden.cases) {
    it(`equals Pillow: ${from.join('x')} -> ${to.join('x')}`, () => {
      const out = resize(image(from[0]!, from[1]!, seed), { width: to[0]!, height: to[1]! });
      assert.deepEqual([out.width, out.height], to);
      assert.deepEqual([...out.data], pixels);
    });
  }

  it('equals Pillow on a whole 224 x 224 image (by checksums)', () => {
    const { from, to, seed, sum, weighted } = golden.large;
    const { data } = resize(image(from[0]!, from[1]!, seed), { width: to[0]!, height: to[1]! });
    assert.equal(data.reduce((total, value) => total + value, 0), sum);
    assert.equal(data.reduce((total, value, i) => total + value * (i % 65521), 0), weighted);
  });

  it('cuts a box out first, so that pixels outside it have no influence', () => {
    const source = image(40, 30, 3), box = { left: 5, top: 7, width: 20, height: 11 };
    assert.deepEqual(resize(source, { width: 8, height: 8, box }), resize(crop(source, box), { width: 8, height: 8 }));
    assert.throws(() => crop(source, { ...box, left: 21 }), RangeError);
  });

  it('is fast enough: a few milliseconds an image', () => {
    const source = image(160, 213, 1), times: number[] = [];
    for (let i = 0; i < 20; i++) {
      const start = performance.now();
      resize(source, { width: 224, height: 224 });
      times.push(performance.now() - start);
    }
    // 3 ms on the machine of record; the bound leaves room for a busy one.
    assert.ok(Math.min(...times) < 15, `${Math.min(...times).toFixed(1)} ms`);
  });
});
