import type { StreamKey } from '../../common/random';
import { type Canvas, paint } from './canvas';
import type { Dice } from './dice';
import { drawGround, drawObject, drawStrokes, hueNames, plainShapes, textureNames } from './scene';

/** Shape x texture x hue of the largest object. */
export const pretrainingClasses = plainShapes.flatMap(shape => textureNames.flatMap(texture => hueNames.map(hue => `${hue}-${texture}-${shape}`)));

/** One large object of the class anywhere, over smaller ones of any class and in front of strokes. */
export function drawPretraining(label: number, size: number, dice: Dice, key: StreamKey): Canvas {
  const hue = hueNames[label % hueNames.length]!;
  const texture = textureNames[Math.floor(label / hueNames.length) % textureNames.length]!;
  const shape = plainShapes[Math.floor(label / (hueNames.length * textureNames.length))]!;
  const { canvas, isDark } = drawGround(size, dice, key);
  drawStrokes(canvas, dice.below(4), dice);
  for (let others = dice.below(4); others > 0; others--) {
    const radius = dice.between(0.06, 0.11) * size;
    paint(canvas, drawObject(dice, isDark, { x: dice.between(0, size), y: dice.between(0, size), radius }));
  }
  const radius = dice.between(0.17, 0.4) * size;
  const place = () => dice.between(0.75 * radius, size - 0.75 * radius);
  paint(canvas, drawObject(dice, isDark, { shape, texture, hue, x: place(), y: place(), radius }));
  return canvas;
}
