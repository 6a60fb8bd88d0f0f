/** Scaling of row-major matrices outside any engine, for folding. */

/** diag(factors) M: row i times factors[i]; rows are as long as they come out. A vector is a matrix of one column. */
export function scaleRows(matrix: Float32Array, factors: Float32Array): Float32Array {
  const columns = matrix.length / factors.length;
  return matrix.map((value, index) => value * factors[Math.floor(index / columns)]!);
}

/** M diag(factors): column j times factors[j]. */
export function scaleColumns(matrix: Float32Array, factors: Float32Array): Float32Array {
  return matrix.map((value, index) => value * factors[index % factors.length]!);
}

/** factors * x + shifts. */
export function scaleAndShift(x: Float32Array, factors: Float32Array, shifts: Float32Array): Float32Array {
  return x.map((value, index) => value * factors[index]! + shifts[index]!);
}
