import type { StreamKey } from '../../common/random';
import { type Canvas, paint } from './canvas';
import type { Dice } from './dice';
import { drawGround, drawObject, drawStrokes } from './scene';

export const orientationClasses = ['east', 'south-east', 'south', 'south-west', 'west', 'north-west', 'north', 'north-east'];

/** One large arrow anywhere, within 12 degrees of the label's direction, among smaller objects and strokes. */
export function drawOrientation(label: number, size: number, dice: Dice, key: StreamKey): Canvas {
  const { canvas, isDark } = drawGround(size, dice, key);
  drawStrokes(canvas, dice.below(4), dice);
  for (let others = dice.below(3); others > 0; others--) {
    const radius = dice.between(0.05, 0.09) * size;
    paint(canvas, drawObject(dice, isDark, { x: dice.between(0, size), y: dice.between(0, size), radius }));
  }
  const radius = dice.between(0.26, 0.42) * size;
  const place = () => dice.between(0.8 * radius, size - 0.8 * radius);
  const angle = (label + dice.between(-1 / 4, 1 / 4)) * Math.PI / 4;
  paint(canvas, drawObject(dice, isDark, { shape: 'arrow', x: place(), y: place(), radius, angle }));
  return canvas;
}
