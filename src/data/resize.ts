/**
 * Pillow's bicubic resize, bit for bit (`Image.resize(size, Image.BICUBIC)` of an RGB image): antialiased Keys kernel
 * with a = -0.5, a horizontal and then a vertical pass, 8-bit rounding between them, coefficients of 22 fractional bits.
 * Pillow 13 takes the vertical pass first where the height shrinks much more than the width (160x400 -> 224x224), which
 * moves single values by rounding there; the order of Pillow 12 and all before is kept for every shape.
 */
import type { Pixels } from './decode';

/** A rectangle in pixels. */
export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** `box` is cut out first, as torchvision crops and then resizes: pixels outside it have no influence. */
export function resize(image: Pixels, { width, height, box }: { width: number; height: number; box?: Box | undefined }): Pixels {
  const source = box ? crop(image, box) : image;
  return resizeHeight(resizeWidth(source, width), height);
}

/** A copy of a rectangle that lies inside the image. */
export function crop(image: Pixels, { left, top, width, height }: Box): Pixels {
  if (left === 0 && top === 0 && width === image.width && height === image.height) return image;
  if (left < 0 || top < 0 || left + width > image.width || top + height > image.height) throw new RangeError('crop box outside the image');
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(start, start + width * 3), y * width * 3);
  }
  return { data, width, height };
}

const fractionBits = 22;
const half = 1 << (fractionBits - 1);

function resizeWidth({ data, width, height }: Pixels, size: number): Pixels {
  if (size === width) return { data, width, height };
  const { taps, starts, counts, weights } = coefficients(width, size);
  const out = new Uint8Array(size * height * 3);
  for (let x = 0; x < size; x++) {
    const first = starts[x]! * 3, count = counts[x]!, k = x * taps;
    for (let y = 0; y < height; y++) {
      let r = half, g = half, b = half, at = y * width * 3 + first;
      for (let i = 0; i < count; i++, at += 3) {
        const weight = weights[k + i]!;
        r = (r + Math.imul(data[at]!, weight)) | 0;
        g = (g + Math.imul(data[at + 1]!, weight)) | 0;
        b = (b + Math.imul(data[at + 2]!, weight)) | 0;
      }
      const to = (y * size + x) * 3;
      out[to] = clip(r >> fractionBits);
      out[to + 1] = clip(g >> fractionBits);
      out[to + 2] = clip(b >> fractionBits);
    }
  }
  return { data: out, width: size, height };
}

function resizeHeight({ data, width, height }: Pixels, size: number): Pixels {
  if (size === height) return { data, width, height };
  const { taps, starts, counts, weights } = coefficients(height, size);
  const row = width * 3;
  const out = new Uint8Array(size * row);
  const sums = new Int32Array(row);
  for (let y = 0; y < size; y++) {
    sums.fill(half);
    for (let i = 0; i < counts[y]!; i++) {
      const weight = weights[y * taps + i]!, from = (starts[y]! + i) * row;
      for (let x = 0; x < row; x++) sums[x] = sums[x]! + Math.imul(data[from + x]!, weight);
    }
    for (let x = 0; x < row; x++) out[y * row + x] = clip(sums[x]! >> fractionBits);
  }
  return { data: out, width, height: size };
}

function clip(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** For each output position: the first input position, how many, and their fixed-point weights (`taps` apart). */
interface Coefficients {
  taps: number;
  starts: Int32Array;
  counts: Int32Array;
  weights: Int32Array;
}

const known = new Map<string, Coefficients>();

/** The same sizes come again and again; a few dozen tables are kept. */
function coefficients(from: number, to: number): Coefficients {
  const key = `${from}>${to}`;
  let found = known.get(key);
  if (!found) {
    if (known.size > 64) known.clear();
    known.set(key, found = computeCoefficients(from, to));
  }
  return found;
}

function computeCoefficients(from: number, to: number): Coefficients {
  const scale = from / to, stretch = Math.max(scale, 1), support = 2 * stretch;
  const taps = Math.ceil(support) * 2 + 1;
  const table = { taps, starts: new Int32Array(to), counts: new Int32Array(to), weights: new Int32Array(to * taps) };
  for (let position = 0; position < to; position++) {
    const centre = (position + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const exact = Array.from({ length: end - start }, (_, i) => kernel((i + start - centre + 0.5) / stretch));
    const total = exact.reduce((sum, weight) => sum + weight, 0);
    table.starts[position] = start;
    table.counts[position] = end - start;
    exact.forEach((weight, i) => { table.weights[position * taps + i] = toFixed(total === 0 ? weight : weight / total); });
  }
  return table;
}

/** Keys' cubic convolution kernel, a = -0.5. */
function kernel(distance: number): number {
  const a = -0.5, x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Rounded half away from zero, as a C cast of `x ± 0.5` does. */
function toFixed(weight: number): number {
  return Math.trunc((weight < 0 ? -0.5 : 0.5) + weight * 2 ** fractionBits);
}
