/**
 * Textures by formula: how much of the second colour there is at a point of a shape, 0 to 1. Coordinates are in units
 * of the shape's radius, so that a texture keeps its look over sizes.
 */
export const textures = {
  solid: () => 0,
  stripes: (u: number, _v: number) => wave(u * 2.2),
  dots: (u: number, v: number) => clamp((0.3 - Math.hypot(fold(u * 1.7), fold(v * 1.7))) * 8 + 0.5),
  rings: (u: number, v: number) => wave(Math.hypot(u, v) * 2.2 + 0.25),
} satisfies Record<string, (u: number, v: number) => number>;

export type Texture = keyof typeof textures;

/** A square wave of period 1 with soft edges. */
function wave(x: number): number {
  return clamp(0.5 + 3 * Math.sin(2 * Math.PI * x));
}

/** Distance to the nearest whole number, signed. */
function fold(x: number): number {
  return x - Math.round(x);
}

function clamp(x: number): number {
  return x < 0 ? 0 : x > 1 ? 1 : x;
}
