/** Rearrangements of row-major arrays: what another library's layout needs to become PyTorch's. */

/** How one array of a file becomes a tensor (or a part of one): its shape, and its values. */
export interface Layout {
  /** Shapes of another rank than expected come back as they are; whoever compares shapes then sees the difference. */
  shape(from: readonly number[]): readonly number[];
  arrange(data: Float32Array, from: readonly number[]): Float32Array;
}

export const asIs: Layout = { shape: from => from, arrange: data => data };

/** [...] -> [1, ..., 1, ...] of the given rank. */
export function ofRank(rank: number): Layout {
  return { shape: from => [...Array<number>(Math.max(0, rank - from.length)).fill(1), ...from], arrange: data => data };
}

/** The first `outer` axes become one, and so do the rest; then the two are swapped: [in..., out...] -> [out, in]. */
export function transposed({ rank = 2, outer = 1 }: { rank?: number; outer?: number } = {}): Layout {
  const sides = (from: readonly number[]) => [product(from.slice(0, outer)), product(from.slice(outer))] as const;
  return {
    shape(from) {
      if (from.length !== rank) return from;
      const [rows, columns] = sides(from);
      return [columns, rows];
    },
    arrange: (data, from) => transpose(data, sides(from)),
  };
}

/** [a, b] -> [a * b]. */
export const flat: Layout = { shape: from => (from.length === 2 ? [product(from)] : from), arrange: data => data };

/** [height, width, in, out] -> [out, in, height, width]. */
export const convolution: Layout = {
  shape: from => (from.length === 4 ? [from[3]!, from[2]!, from[0]!, from[1]!] : from),
  arrange: (data, from) => permute(data, from, [3, 2, 0, 1]),
};

/** [rows, columns] -> [columns, rows], in tiles that stay in the processor's cache. */
export function transpose(data: Float32Array, [rows, columns]: readonly [number, number]): Float32Array {
  const out = new Float32Array(data.length);
  const tile = 32;
  for (let top = 0; top < rows; top += tile) {
    const bottom = Math.min(top + tile, rows);
    for (let left = 0; left < columns; left += tile) {
      const right = Math.min(left + tile, columns);
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) out[column * rows + row] = data[row * columns + column]!;
      }
    }
  }
  return out;
}

/** Axis i of the result is axis `order[i]` of the input. */
export function permute(data: Float32Array, shape: readonly number[], order: readonly number[]): Float32Array {
  const strides = shape.map((_, axis) => product(shape.slice(axis + 1)));
  const sides = order.map(axis => shape[axis]!), steps = order.map(axis => strides[axis]!);
  const out = new Float32Array(data.length);
  const place = sides.map(() => 0);
  const last = sides.length - 1;
  let position = 0;
  for (let i = 0; i < out.length; i++) {
    out[i] = data[position]!;
    for (let axis = last; axis >= 0; axis--) {
      position += steps[axis]!;
      if (++place[axis]! < sides[axis]!) break;
      position -= steps[axis]! * sides[axis]!;
      place[axis] = 0;
    }
  }
  return out;
}

export function product(sides: readonly number[]): number {
  return sides.reduce((a, b) => a * b, 1);
}
