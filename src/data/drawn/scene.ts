/** What all drawn tasks share: grounds, colours, objects and clutter, chosen by dice. */
import type { StreamKey } from '../../common/random';
import { type Canvas, type Colour, type Drawn, createCanvas, paint } from './canvas';
import type { Dice } from './dice';
import type { Shape } from './shapes';
import type { Texture } from './textures';

export const hues = { red: 0, green: 1 / 3, blue: 0.62 } as const;
export type Hue = keyof typeof hues;
export const hueNames = Object.keys(hues) as Hue[];

export const plainShapes = ['disc', 'square', 'triangle', 'ring', 'cross', 'star', 'bar', 'crescent'] as const satisfies readonly Shape[];
export const textureNames = ['solid', 'stripes', 'dots', 'rings'] as const satisfies readonly Texture[];

/** A ground of muted colours, lighter or darker than the objects on it. */
export function drawGround(size: number, dice: Dice, key: StreamKey): { canvas: Canvas; isDark: boolean } {
  const isDark = dice.chance(0.5);
  const colour = () => fromHue(dice.between(0, 1), dice.between(0, 0.35), isDark ? dice.between(0.05, 0.35) : dice.between(0.75, 1));
  const canvas = createCanvas(size, {
    from: colour(), to: colour(), angle: dice.between(0, 2 * Math.PI), cell: dice.between(4, 20) * size / 64,
    noise: dice.between(0, 0.12), grain: dice.between(0, 0.08), key,
  });
  return { canvas, isDark };
}

/** A saturated colour of the hue and the texture's second colour, both apart from the ground. */
function drawColours(hue: Hue, dice: Dice, isDark: boolean): [Colour, Colour] {
  const angle = hues[hue] + dice.between(-0.06, 0.06);
  const first = fromHue(angle, dice.between(0.65, 1), isDark ? dice.between(0.75, 1) : dice.between(0.5, 0.8));
  const second = isDark ? fromHue(angle, dice.between(0, 0.3), 1) : fromHue(angle, 0.8, dice.between(0.1, 0.3));
  return [first, second];
}

/** An object with nothing said about its place: at the origin. */
export function drawObject(dice: Dice, isDark: boolean, fixed: Partial<Drawn> & { hue?: Hue } = {}): Drawn {
  const { hue = dice.pick(hueNames), ...rest } = fixed;
  return {
    shape: dice.pick(plainShapes), texture: dice.pick(textureNames), colours: drawColours(hue, dice, isDark),
    x: 0, y: 0, radius: 8, angle: dice.between(0, 2 * Math.PI), aspect: dice.between(0.8, 1.25), opacity: 1,
    ...rest,
  };
}

/** Thin strokes of any colour, anywhere. */
export function drawStrokes(canvas: Canvas, count: number, dice: Dice): void {
  for (let i = 0; i < count; i++) {
    const colour = fromHue(dice.between(0, 1), dice.between(0, 0.6), dice.between(0.2, 0.9));
    paint(canvas, {
      shape: 'bar', texture: 'solid', colours: [colour, colour], x: dice.between(0, canvas.size), y: dice.between(0, canvas.size),
      radius: dice.between(0.04, 0.12) * canvas.size, angle: dice.between(0, Math.PI), aspect: dice.between(4, 9), opacity: dice.between(0.5, 0.9),
    });
  }
}

/** Hue from 0 to 1 round the circle, saturation and value from 0 to 1. */
function fromHue(hue: number, saturation: number, value: number): Colour {
  const channel = (shift: number) => {
    const sixth = ((((hue * 6 + shift) % 6) + 6) % 6);
    return value * (1 - saturation * Math.max(0, Math.min(1, sixth, 4 - sixth)));
  };
  return [channel(5), channel(3), channel(1)];
}
