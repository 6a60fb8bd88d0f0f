import type { StreamKey } from '../../common/random';
import { type Canvas, paint } from './canvas';
import type { Dice } from './dice';
import { drawGround, drawObject, drawStrokes, hueNames, plainShapes, textureNames } from './scene';

/** What a class says of the largest object, in the order of the classes' numbering. */
export const pretrainingAttributes = [plainShapes, textureNames, hueNames] as const;

/** Shape x texture x hue of the largest object. */
export const pretrainingClasses = plainShapes.flatMap(shape => textureNames.flatMap(texture => hueNames.map(hue => `${hue}-${texture}-${shape}`)));

/** Which shape, texture and hue a class is of: indices into `pretrainingAttributes`. */
export function attributesOf(label: number): [number, number, number] {
  const [, textures, hues] = pretrainingAttributes;
  return [Math.floor(label / (hues.length * textures.length)), Math.floor(label / hues.length) % textures.length, label % hues.length];
}

/** One large object of the class anywhere, over smaller ones of any class and in front of strokes. */
export function drawPretraining(label: number, size: number, dice: Dice, key: StreamKey): Canvas {
  const [shapeIndex, textureIndex, hueIndex] = attributesOf(label);
  const [shape, texture, hue] = [plainShapes[shapeIndex]!, textureNames[textureIndex]!, hueNames[hueIndex]!];
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
