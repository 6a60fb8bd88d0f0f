import type { StreamKey } from '../../common/random';
import { type Canvas, paint } from './canvas';
import type { Dice } from './dice';
import { drawGround, drawObject, drawStrokes, hueNames, plainShapes } from './scene';

export const positionClasses = ['top-left', 'top', 'top-right', 'left', 'centre', 'right', 'bottom-left', 'bottom', 'bottom-right'];

/** Objects of one shape and hue in most cells of a 3 x 3 grid, and one of another shape and hue in the label's cell. */
export function drawPosition(label: number, size: number, dice: Dice, key: StreamKey): Canvas {
  const { canvas, isDark } = drawGround(size, dice, key);
  drawStrokes(canvas, dice.below(4), dice);
  const [common, odd] = twoOf(plainShapes, dice);
  const [commonHue, oddHue] = twoOf(hueNames, dice);
  for (let cell = 0; cell < 9; cell++) {
    if (cell !== label && dice.chance(0.25)) continue;
    const kind = cell === label ? { shape: odd, hue: oddHue } : { shape: common, hue: commonHue };
    const place = (index: number) => (index + 0.5 + dice.between(-0.2, 0.2)) * size / 3;
    paint(canvas, drawObject(dice, isDark, { ...kind, x: place(cell % 3), y: place(Math.floor(cell / 3)), radius: dice.between(0.08, 0.13) * size }));
  }
  return canvas;
}

function twoOf<Item>(items: readonly Item[], dice: Dice): [Item, Item] {
  const first = dice.below(items.length);
  const second = (first + 1 + dice.below(items.length - 1)) % items.length;
  return [items[first]!, items[second]!];
}
