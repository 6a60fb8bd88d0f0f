
export interface ProductShape {
  rows: number;
  inner: number;
  columns: number;
}

/** a [rows, inner] times b [inner, columns]; sums in double precision. */
export function product(a: Float32Array, b: Float32Array, shape: ProductShape): Float32Array {
  const out = new Float32Array(shape.rows * shape.columns);
  addProduct(out, a, b, { ...shape, scale: 1 });
  return out;
}

/** target [rows, columns] += scale * a [rows, inner] b [inner, columns]. */
export function addProduct(target: Float32Array, a: Float32Array, b: Float32Array, { rows, inner, columns, scale }: ProductShape & { scale: number }): void {
  const sums = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    sums.fill(0);
    for (let k = 0; k < inner; k++) {
      const factor = a[row * inner + k]!;
      if (factor === 0) continue;
      for (let column = 0; column < columns; column++) sums[column]! += factor * b[k * columns + column]!;
    }
    for (let column = 0; column < columns; column++) target[row * columns + column]! += scale * sums[column]!;
  }
}
