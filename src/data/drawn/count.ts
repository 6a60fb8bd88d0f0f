import type { StreamKey } from '../../common/random';
import { type Canvas, type Drawn, paint } from './canvas';
import type { Dice } from './dice';
import { drawGround, drawObject, drawStrokes } from './scene';

export const countClasses = ['1', '2', '3', '4', '5', '6'];

/** As many objects as the label says (plus one), of any kind and apart from each other; strokes do not count. */
export function drawCount(label: number, size: number, dice: Dice, key: StreamKey): Canvas {
  const { canvas, isDark } = drawGround(size, dice, key);
  drawStrokes(canvas, dice.below(5), dice);
  const placed: Drawn[] = [];
  while (placed.length <= label) placed.push(placeApart(placed, size, dice, isDark));
  for (const drawn of placed) paint(canvas, drawn);
  return canvas;
}

/** Tries places until one is free, with smaller objects the longer that takes. */
function placeApart(placed: readonly Drawn[], size: number, dice: Dice, isDark: boolean): Drawn {
  for (let largest = 0.15; ; largest *= 0.98) {
    const radius = dice.between(0.6, 1) * largest * size;
    const place = () => dice.between(radius, size - radius);
    const drawn = drawObject(dice, isDark, { x: place(), y: place(), radius });
    if (placed.every(other => Math.hypot(other.x - drawn.x, other.y - drawn.y) > 1.1 * (other.radius + radius))) return drawn;
  }
}
