/** A square picture in floating point, painted by formula and without any graphics library. */
import { type StreamKey, randomBits } from '../../common/random';
import { type Shape, shapes } from './shapes';
import { type Texture, textures } from './textures';

/** Red, green, blue from 0 to 1. */
export type Colour = readonly [number, number, number];

export interface Canvas {
  size: number;
  /** [size, size, 3] */
  data: Float32Array;
}

export interface Drawn {
  shape: Shape;
  texture: Texture;
  /** The shape's colour and the texture's second one. */
  colours: readonly [Colour, Colour];
  /** Centre and radius in pixels. */
  x: number;
  y: number;
  radius: number;
  /** In radians, clockwise on the screen. */
  angle: number;
  /** Width over height. */
  aspect: number;
  opacity: number;
}

/** Paints a shape over what is there; its outline is anti-aliased over one pixel. */
export function paint({ size, data }: Canvas, drawn: Drawn): void {
  const { x, y, radius, opacity, colours: [first, second] } = drawn;
  const [outline, texture] = [shapes[drawn.shape], textures[drawn.texture]];
  const [stretchU, stretchV] = [Math.sqrt(drawn.aspect), 1 / Math.sqrt(drawn.aspect)];
  const [cos, sin] = [Math.cos(drawn.angle) / radius, Math.sin(drawn.angle) / radius];
  const reach = 1.2 * radius * Math.max(stretchU, stretchV) + 1;
  for (let row = Math.max(0, Math.floor(y - reach)); row < Math.min(size, y + reach); row++) {
    for (let column = Math.max(0, Math.floor(x - reach)); column < Math.min(size, x + reach); column++) {
      const dx = column + 0.5 - x, dy = row + 0.5 - y;
      const u = (dx * cos + dy * sin) / stretchU;
      const v = (dy * cos - dx * sin) / stretchV;
      const cover = opacity * Math.min(1, Math.max(0, 0.5 - outline(u, v) * radius));
      if (cover > 0) blend(data, (row * size + column) * 3, { cover, mix: texture(u, v), first, second });
    }
  }
}

interface Blend {
  /** How much of what is there is covered. */
  cover: number;
  /** How much of the second colour. */
  mix: number;
  first: Colour;
  second: Colour;
}

function blend(data: Float32Array, at: number, { cover, mix, first, second }: Blend): void {
  for (let channel = 0; channel < 3; channel++) {
    const colour = first[channel]! + mix * (second[channel]! - first[channel]!);
    data[at + channel]! += cover * (colour - data[at + channel]!);
  }
}

export interface Ground {
  from: Colour;
  to: Colour;
  /** Direction of the gradient, in radians. */
  angle: number;
  /** Side of a cell of the smooth noise, in pixels. */
  cell: number;
  /** How far the smooth noise and the grain of single pixels go. */
  noise: number;
  grain: number;
  key: StreamKey;
}

/** A new picture: a gradient with smooth noise and grain on it. */
export function createCanvas(size: number, ground: Ground): Canvas {
  const data = new Float32Array(size * size * 3);
  const [cos, sin] = [Math.cos(ground.angle) / size, Math.sin(ground.angle) / size];
  const side = Math.ceil(size / ground.cell) + 2;
  const noise = Float32Array.from({ length: side * side }, (_, i) => signed(ground.key, i) * ground.noise);
  for (let row = 0, at = 0; row < size; row++) {
    for (let column = 0; column < size; column++, at += 3) {
      const along = 0.5 + (column - size / 2) * cos + (row - size / 2) * sin;
      const light = smooth(noise, side, column / ground.cell, row / ground.cell) + signed(ground.key, side * side + at) * ground.grain;
      for (let c = 0; c < 3; c++) data[at + c] = ground.from[c]! + along * (ground.to[c]! - ground.from[c]!) + light;
    }
  }
  return { size, data };
}

/** The picture as bytes, [size, size, 3]. */
export function toPixels({ data }: Canvas): Uint8Array {
  const pixels = new Uint8ClampedArray(data.length); // clamps, and rounds to the nearest
  for (let i = 0; i < data.length; i++) pixels[i] = data[i]! * 255;
  return new Uint8Array(pixels.buffer);
}

/** -1 to 1. */
function signed(key: StreamKey, counter: number): number {
  return randomBits(key, counter) / 2 ** 31 - 1;
}

/** Bilinear between the noise's grid points, eased so that the cells do not show. */
function smooth(noise: Float32Array, side: number, x: number, y: number): number {
  const column = Math.floor(x), row = Math.floor(y); // no arrays here: this runs once a pixel
  const fx = ease(x - column), fy = ease(y - row);
  const at = row * side + column;
  const top = noise[at]! + fx * (noise[at + 1]! - noise[at]!);
  const bottom = noise[at + side]! + fx * (noise[at + side + 1]! - noise[at + side]!);
  return top + fy * (bottom - top);
}

function ease(t: number): number {
  return t * t * (3 - 2 * t);
}
