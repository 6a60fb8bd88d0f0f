import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bfloatToFloat, floatToBfloat, floatToHalf, halfToFloat } from '../../../src/interop/half';

describe('16-bit floats', () => {
  it('every half survives the way to float32 and back', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
    const values = halfToFloat(all);
    const back = floatToHalf(values);
    for (let bits = 0; bits < 65536; bits++) {
      if (Number.isNaN(values[bits])) assert.ok((back[bits]! & 0x7c00) === 0x7c00 && (back[bits]! & 1023) > 0);
      else assert.equal(back[bits], bits);
    }
  });

  it('rounds to the nearest half, ties to even', () => {
    const values = halfToFloat(Uint16Array.from({ length: 0x7c00 }, (_, bits) => bits));
    for (let i = 0; i + 1 < values.length; i += 7) {
      const middle = (values[i]! + values[i + 1]!) / 2; // exact in float32
      const gap = values[i + 1]! - values[i]!;
      assert.equal(floatToHalf(Float32Array.of(middle))[0], i % 2 ? i + 1 : i);
      assert.equal(floatToHalf(Float32Array.of(middle + gap / 64))[0], i + 1);
      assert.equal(floatToHalf(Float32Array.of(-middle + gap / 64))[0], 0x8000 + i);
    }
  });

  it('knows the known values', () => {
    const cases: [number, number][] = [[1, 0x3c00], [-2, 0xc000], [65504, 0x7bff], [65519.99, 0x7bff], [65520, 0x7c00], [1e9, 0x7c00],
      [2 ** -24, 1], [2 ** -25, 0], [2 ** -25 * 1.01, 1], [2 ** -14, 0x0400], [0.1, 0x2e66], [-0, 0x8000], [Infinity, 0x7c00]];
    for (const [value, bits] of cases) assert.equal(floatToHalf(Float32Array.of(value))[0], bits, String(value));
  });

  it('bfloat16 is the upper half, rounded', () => {
    assert.deepEqual([...bfloatToFloat(floatToBfloat(Float32Array.of(1, -3.5, 1e30, Infinity)))], [1, -3.5, Math.fround(bfloatToFloat(Uint16Array.of(0x714a))[0]!), Infinity]);
    assert.deepEqual([...floatToBfloat(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, NaN))], [0x3f80, 0x3f82, 0x7fc0]);
  });
});
