import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createCanvas, paint } from '../../../src/data/drawn/canvas';
import { type Shape, shapes } from '../../../src/data/drawn/shapes';

const black = [0, 0, 0] as const;
const white = [1, 1, 1] as const;
const flat = { from: black, to: black, angle: 0, cell: 8, noise: 0, grain: 0, key: [1, 2] as const };

describe('shapes', () => {
  for (const [name, outline] of Object.entries(shapes)) {
    it(`${name} lies within 1.2 of the origin and has an inside`, () => {
      let inside = 0;
      for (let u = -2; u <= 2; u += 0.05) {
        for (let v = -2; v <= 2; v += 0.05) {
          if (outline(u, v) >= 0) continue;
          inside++;
          assert.ok(Math.hypot(u, v) <= 1.2, `(${u}, ${v})`);
        }
      }
      assert.ok(inside > 100);
    });

    it(`${name}: the distance changes by about as much as one moves, so that the outline is one pixel soft`, () => {
      for (let u = -1.3; u <= 1.3; u += 0.13) {
        for (let v = -1.3; v <= 1.3; v += 0.13) assert.ok(Math.abs(outline(u + 0.01, v) - outline(u, v)) <= 0.0101);
      }
    });
  }

  const areas: Partial<Record<Shape, number>> = { disc: Math.PI * 0.85 ** 2, square: 1.5 ** 2, ring: Math.PI * (0.9 ** 2 - 0.46 ** 2), bar: 2.1 * 0.6, cross: 4 * 0.95 * 0.28 * 2 - 0.56 ** 2 };
  for (const [shape, area] of Object.entries(areas) as [Shape, number][]) {
    it(`${shape}: as much is painted as the formula's area, at any angle`, () => {
      for (const angle of [0, 0.4, 2]) {
        const canvas = createCanvas(64, flat);
        paint(canvas, { shape, texture: 'solid', colours: [white, white], x: 32.3, y: 31.8, radius: 20, angle, aspect: 1, opacity: 1 });
        const painted = canvas.data.reduce((a, b) => a + b, 0) / 3 / 20 ** 2;
        assert.ok(Math.abs(painted - area) < 0.03 * area, `${painted} for ${area}`);
      }
    });
  }

  it('turns clockwise on the screen: an arrow at 90 degrees points down', () => {
    const canvas = createCanvas(64, flat);
    paint(canvas, { shape: 'arrow', texture: 'solid', colours: [white, white], x: 32, y: 32, radius: 24, angle: Math.PI / 2, aspect: 1, opacity: 1 });
    const widthAt = (row: number) => Array.from({ length: 64 }, (_, column) => canvas.data[(row * 64 + column) * 3]!).reduce((a, b) => a + b, 0);
    assert.ok(widthAt(34) > 2 * widthAt(16), 'the head is below the shaft');
    assert.ok(widthAt(34) > widthAt(44) && widthAt(44) > 0, 'and narrows downwards');
  });
});
