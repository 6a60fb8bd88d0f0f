import type { StreamKey } from '../../common/random';
import { type Canvas, paint } from './canvas';
import type { Dice } from './dice';
import { drawGround, drawObject, drawStrokes, hueNames, plainShapes, textureNames } from './scene';

/** Shape x texture x hue of the largest object. */
export const pretrainingClasses = plainShapes.flatMap(shape => textureNames.flatMap(texture => hueNames.map(hue => `${hue}-${texture}-${shape}`)));

/** What can be asked of an image, and how many answers there are; the first three make the class. */
export const pretrainingQuestions = {
  shape: plainShapes.length,
  texture: textureNames.length,
  hue: hueNames.length,
  /** In which cell of a 3 x 3 grid the largest object's centre is. */
  place: 9,
  /** Small, middling or large. */
  size: 3,
  /** How many smaller objects there are. */
  companions: 4,
};
export type PretrainingAnswers = Record<keyof typeof pretrainingQuestions, number>;

/** One large object of the class anywhere, over smaller ones of any class and in front of strokes. */
export function drawPretraining(label: number, size: number, dice: Dice, key: StreamKey): { canvas: Canvas; answers: PretrainingAnswers } {
  const kind = kindOf(label);
  const { canvas, isDark } = drawGround(size, dice, key);
  drawStrokes(canvas, dice.below(4), dice);
  const companions = dice.below(4);
  for (let i = 0; i < companions; i++) {
    const radius = dice.between(0.06, 0.11) * size;
    paint(canvas, drawObject(dice, isDark, { x: dice.between(0, size), y: dice.between(0, size), radius }));
  }
  const radius = dice.between(0.17, 0.4) * size;
  const place = () => dice.between(0.75 * radius, size - 0.75 * radius);
  const [x, y] = [place(), place()];
  paint(canvas, drawObject(dice, isDark, { shape: plainShapes[kind.shape]!, texture: textureNames[kind.texture]!, hue: hueNames[kind.hue]!, x, y, radius }));
  const third = (share: number) => Math.min(2, Math.floor(3 * share));
  return { canvas, answers: { ...kind, place: 3 * third(y / size) + third(x / size), size: third((radius / size - 0.17) / 0.23), companions } };
}

function kindOf(label: number): { shape: number; texture: number; hue: number } {
  const textures = textureNames.length, hues = hueNames.length;
  return { shape: Math.floor(label / (hues * textures)), texture: Math.floor(label / hues) % textures, hue: label % hues };
}
