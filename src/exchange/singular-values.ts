/**
 * Singular values of a matrix, in double precision: square roots of the eigenvalues of its Gram matrix, which is as small
 * as the matrix's shorter side. An update of low rank is first reduced to that rank, so that the usual case (768 x 3072 of
 * rank 8) takes milliseconds. Squaring loses the digits of values below 1e-8 of the largest, which no reader here needs;
 * a library's full SVD would take a thousand times as long.
 */

/** At most this rank is looked for before the whole Gram matrix is made. */
const largestLowRank = 64;

export interface SingularValueOptions {
  /** Values up to this are rounding and left out; 0 keeps all. */
  noise?: number;
}

/** Descending. `matrix` is row-major, [rows, columns]. */
export function singularValues(matrix: ArrayLike<number>, rows: number, columns: number, { noise = 0 }: SingularValueOptions = {}): number[] {
  const wide = rows <= columns ? Float64Array.from(matrix) : transposed(matrix, rows, columns);
  const [m, n] = rows <= columns ? [rows, columns] : [columns, rows];
  const reduced = m > largestLowRank ? lowRankCoefficients(wide, m, n, noise) : null;
  const gram = reduced ? gramOf(transposed(reduced.coefficients, m, reduced.rank), reduced.rank, m) : gramOf(wide, m, n);
  const values = symmetricEigenvalues(gram, reduced ? reduced.rank : m).map(value => Math.sqrt(Math.max(value, 0)));
  return values.sort((a, b) => b - a).filter(value => value > noise);
}

function transposed(matrix: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) out[column * rows + row] = matrix[row * columns + column]!;
  return out;
}

/**
 * Gram-Schmidt on the rows, the longest of what is left first, until what is left is no more than noise (or 1e-7 of the
 * whole, float32's own rounding). Rows are then combinations of `rank` orthonormal ones: coefficients [m, rank]; null when
 * the rank is higher than is looked for.
 */
function lowRankCoefficients(matrix: Float64Array, m: number, n: number, noise: number): { coefficients: Float64Array; rank: number } | null {
  const rest = matrix.slice();
  const lengths = Float64Array.from({ length: m }, (_, row) => squared(rest.subarray(row * n, (row + 1) * n)));
  const whole = lengths.reduce((a, b) => a + b, 0);
  // Noise of which the largest singular value is `noise` has a norm of up to sqrt(m) times that.
  const enough = Math.max(whole * 1e-14, noise ** 2 * m);
  const found: Float64Array[] = [];
  const columns: Float64Array[] = [];
  while (lengths.reduce((a, b) => a + b, 0) > enough) {
    if (found.length === largestLowRank) return null;
    const longest = lengths.reduce((best, value, row) => (value > lengths[best]! ? row : best), 0);
    const direction = rest.slice(longest * n, (longest + 1) * n);
    for (const known of found) subtract(direction, known, inner(direction, known)); // again, against rounding
    const length = Math.sqrt(squared(direction));
    if (length === 0) break;
    for (let i = 0; i < n; i++) direction[i]! /= length;
    const column = new Float64Array(m);
    for (let row = 0; row < m; row++) {
      const own = rest.subarray(row * n, (row + 1) * n);
      column[row] = inner(own, direction);
      subtract(own, direction, column[row]!);
      lengths[row] = squared(own);
    }
    found.push(direction);
    columns.push(column);
  }
  const rank = found.length, coefficients = new Float64Array(m * rank);
  columns.forEach((column, index) => column.forEach((value, row) => { coefficients[row * rank + index] = value; }));
  return { coefficients, rank };
}

/** matrix [m, n] times its transpose, [m, m]. */
function gramOf(matrix: Float64Array, m: number, n: number): Float64Array {
  const gram = new Float64Array(m * m);
  for (let a = 0; a < m; a++) {
    const row = matrix.subarray(a * n, (a + 1) * n);
    for (let b = 0; b <= a; b++) gram[a * m + b] = gram[b * m + a] = inner(row, matrix.subarray(b * n, (b + 1) * n));
  }
  return gram;
}

/** Of a symmetric matrix [size, size], which is overwritten: Householder's tridiagonal form, then the QL method with implicit shifts. */
export function symmetricEigenvalues(matrix: Float64Array, size: number): number[] {
  if (size === 0) return [];
  const { diagonal, beside } = tridiagonal(matrix, size);
  return tridiagonalEigenvalues(diagonal, beside);
}

/** Reflects column after column of what is below the diagonal onto one element: A' = (I - v v^T 2 / |v|^2) A (same). */
function tridiagonal(a: Float64Array, size: number): { diagonal: Float64Array; beside: Float64Array } {
  const beside = new Float64Array(size), v = new Float64Array(size), p = new Float64Array(size);
  for (let k = 0; k < size - 2; k++) {
    let norm = 0;
    for (let i = k + 1; i < size; i++) norm += a[i * size + k]! ** 2;
    norm = Math.sqrt(norm);
    const first = a[(k + 1) * size + k]!;
    beside[k] = first > 0 ? -norm : norm;
    if (norm === 0) continue;
    for (let i = k + 1; i < size; i++) v[i] = a[i * size + k]!;
    v[k + 1]! -= beside[k]!;
    let length = 0;
    for (let i = k + 1; i < size; i++) length += v[i]! ** 2;
    if (length === 0) continue;
    reflect(a, size, { v, p, start: k + 1, factor: 2 / length });
  }
  if (size > 1) beside[size - 2] = a[(size - 1) * size + size - 2]!;
  return { diagonal: Float64Array.from({ length: size }, (_, i) => a[i * size + i]!), beside };
}

/** Both sides at once: with p = factor A v and q = p - (factor / 2) (p v) v, A' = A - v q^T - q v^T. */
function reflect(a: Float64Array, size: number, { v, p, start, factor }: { v: Float64Array; p: Float64Array; start: number; factor: number }): void {
  let pv = 0;
  for (let i = start; i < size; i++) {
    let sum = 0;
    for (let j = start, at = i * size + start; j < size; j++, at++) sum += a[at]! * v[j]!;
    p[i] = factor * sum;
    pv += p[i]! * v[i]!;
  }
  for (let i = start; i < size; i++) p[i]! -= factor / 2 * pv * v[i]!;
  for (let i = start; i < size; i++) {
    const vi = v[i]!, qi = p[i]!;
    for (let j = start, at = i * size + start; j < size; j++, at++) a[at]! -= vi * p[j]! + qi * v[j]!;
  }
}

/** `beside[i]` stands between i and i + 1. */
function tridiagonalEigenvalues(d: Float64Array, e: Float64Array): number[] {
  const size = d.length;
  for (let start = 0; start < size; start++) {
    for (let rounds = 0; ; rounds++) {
      const end = splitAfter(d, e, start);
      if (end === start) break;
      if (rounds === 60) throw new Error('the eigenvalues of a symmetric matrix were not found in 60 rounds');
      chase(d, e, start, end);
    }
  }
  return Array.from(d);
}

/** The end of the block that begins at `start`: the first element beside the diagonal that is nothing beside its neighbours. */
function splitAfter(d: Float64Array, e: Float64Array, start: number): number {
  for (let m = start; m < d.length - 1; m++) {
    if (Math.abs(e[m]!) <= Number.EPSILON * (Math.abs(d[m]!) + Math.abs(d[m + 1]!))) return m;
  }
  return d.length - 1;
}

/** One QL round over the block, with Wilkinson's shift. */
function chase(d: Float64Array, e: Float64Array, start: number, end: number): void {
  let g = (d[start + 1]! - d[start]!) / (2 * e[start]!);
  let r = Math.hypot(g, 1);
  g = d[end]! - d[start]! + e[start]! / (g + (g >= 0 ? r : -r));
  let s = 1, c = 1, p = 0;
  for (let i = end - 1; i >= start; i--) {
    const f = s * e[i]!, b = c * e[i]!;
    r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1]! -= p;
      e[end] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1]! - p;
    r = (d[i]! - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
  }
  d[start]! -= p;
  e[start] = g;
  e[end] = 0;
}

function inner(a: Float64Array, b: Float64Array): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  const whole = a.length - a.length % 4;
  let i = 0;
  for (; i < whole; i += 4) {
    s0 += a[i]! * b[i]!;
    s1 += a[i + 1]! * b[i + 1]!;
    s2 += a[i + 2]! * b[i + 2]!;
    s3 += a[i + 3]! * b[i + 3]!;
  }
  for (; i < a.length; i++) s0 += a[i]! * b[i]!;
  return s0 + s1 + s2 + s3;
}

function subtract(from: Float64Array, direction: Float64Array, factor: number): void {
  for (let i = 0; i < from.length; i++) from[i]! -= factor * direction[i]!;
}

function squared(values: Float64Array): number {
  return inner(values, values);
}
