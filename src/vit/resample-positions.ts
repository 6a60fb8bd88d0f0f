import type { HostTensor } from '../engine/program';

/**
 * Position embeddings [1, 1 + from^2, width] for a grid of another side: bicubic with the kernel widened where it
 * shrinks (PyTorch's `interpolate(mode='bicubic', antialias=True)`, as timm resamples). The class token's position stays.
 */
export function resamplePositions(positions: HostTensor, toSide: number): HostTensor {
  const [, count, width] = positions.shape as [number, number, number];
  const fromSide = Math.sqrt(count - 1);
  if (fromSide === toSide) return positions;
  const data = positions.data as Float32Array;
  const taps = bicubicTaps(fromSide, toSide);
  const wide = resampleAxis(data.subarray(width), { outer: fromSide, inner: width }, taps); // [from, to, width]
  const grid = resampleAxis(wide, { outer: 1, inner: toSide * width }, taps); // [to, to, width]
  const out = new Float32Array((1 + toSide ** 2) * width);
  out.set(data.subarray(0, width));
  out.set(grid, width);
  return { shape: [1, 1 + toSide ** 2, width], data: out };
}

/** What one output position is made of: weights for inputs first, first + 1, ... that sum to 1. */
interface Taps {
  first: number;
  weights: number[];
}

/** Catmull-Rom (a = -0.5) with the support of Pillow's and PyTorch's antialiased resize. */
function bicubicTaps(from: number, to: number): Taps[] {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const center = scale * (i + 0.5);
    const first = Math.max(Math.trunc(center - 2 * stretch + 0.5), 0);
    const end = Math.min(Math.trunc(center + 2 * stretch + 0.5), from);
    const raw = Array.from({ length: end - first }, (_, j) => cubic((first + j - center + 0.5) / stretch));
    const sum = raw.reduce((a, b) => a + b, 0);
    return { first, weights: raw.map(weight => weight / sum) };
  });
}

function cubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Resamples the middle axis of [outer, from, inner]. */
function resampleAxis(input: Float32Array, { outer, inner }: { outer: number; inner: number }, taps: Taps[]): Float32Array {
  const from = input.length / (outer * inner);
  const out = new Float32Array(outer * taps.length * inner);
  for (let o = 0; o < outer; o++) {
    for (const [t, { first, weights }] of taps.entries()) {
      const target = (o * taps.length + t) * inner;
      for (let i = 0; i < inner; i++) {
        let sum = 0;
        for (let j = 0; j < weights.length; j++) sum += weights[j]! * input[(o * from + first + j) * inner + i]!;
        out[target + i] = sum;
      }
    }
  }
  return out;
}
