/** Axes of tensors, made as few as they can be: kernels know only so many. */

export interface Axes {
  shape: number[];
  /** Of each tensor, elements from one to the next along each axis. */
  strides: number[][];
}

/** Leaves out axes of one element and joins those that follow one another in all tensors; at least one axis is left. */
export function collapse({ shape, strides }: { shape: readonly number[]; strides: readonly (readonly number[])[] }): Axes {
  const result: Axes = { shape: [], strides: strides.map(() => []) };
  shape.forEach((side, axis) => {
    if (side === 1) return;
    const last = result.shape.length - 1;
    const follows = last >= 0 && strides.every((own, i) => result.strides[i]![last] === own[axis]! * side);
    if (follows) {
      result.shape[last]! *= side;
      result.strides.forEach((own, i) => { own[last] = strides[i]![axis]!; });
    } else {
      result.shape.push(side);
      result.strides.forEach((own, i) => own.push(strides[i]![axis]!));
    }
  });
  return result.shape.length ? result : { shape: [1], strides: strides.map(() => [1]) };
}

/** So many axes, with ones in front. Null where there are more. */
export function padAxes({ shape, strides }: Axes, count: number): Axes | null {
  const missing = count - shape.length;
  if (missing < 0) return null;
  return { shape: [...Array<number>(missing).fill(1), ...shape], strides: strides.map(own => [...Array<number>(missing).fill(0), ...own]) };
}

/** Strides of a tensor that is broadcast to `shape`: 0 where it is repeated. */
export function broadcastStrides(from: readonly number[], strides: readonly number[], shape: readonly number[]): number[] {
  const lead = shape.length - from.length;
  return shape.map((side, axis) => (axis < lead || (from[axis - lead] === 1 && side !== 1) ? 0 : strides[axis - lead]!));
}
