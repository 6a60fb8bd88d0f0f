// Tiles of a matrix product: one operand is laid out in panels of as many columns as two vectors hold, then a few rows of
// one panel at a time are computed in registers, and finished while they are in the innermost cache.
#pragma once
#include "vector.h"

#define PANEL (2 * LANES)
#if VECTOR_BYTES == 64
#define TILE_ROWS 12 // 24 sums, two vectors of the panel and what they are multiplied by, of 32 registers
#elif defined(__aarch64__)
#define TILE_ROWS 12
#else
#define TILE_ROWS 6 // 12 sums of 16 registers
#endif

/** How much of the depth is multiplied at once: a panel of it stays in the innermost cache. */
enum { mostDepth = VECTOR_BYTES == 64 ? 256 : 384 };

typedef struct {
  /** [m, k]: element (i, p) is at a[i * aRow + p * aColumn]; one of the strides is 1. Likewise b [k, n]. */
  const float *a, *b;
  int64_t aRow, aColumn, bRow, bColumn;
  /** [m, n]. */
  float *c;
  int64_t cRow;
  int64_t m, n, k;
  /** b in panels, where it was laid out beforehand. */
  const float *panels;
  /** What follows the product, in this order; null where absent: + bias [n], + addend, * factor [m, n]. c may be the addend. */
  const float *bias, *addend, *factor;
  int64_t addendRow, factorRow;
  /** [1]: what the addend is multiplied by; where it is 0 the addend is not read. */
  const float *keep;
  /** 1: GELU at the end; then its derivative goes to `derivative` [m, n] where that is not null. */
  int activation;
  float *derivative;
  int64_t derivativeRow;
  /** 1: is computed in quarters (quarters.h), where that can be. */
  int inQuarters;
} Product;

INLINE int64_t divideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
/** Blocks are of one size but for the last, and an even number unless one is enough: some products take them in pairs. */
INLINE int64_t depthBlock(int64_t k) { return k <= mostDepth ? k : divideUp(k, 2 * divideUp(k, 2 * mostDepth)); }
INLINE int64_t paddedColumns(int64_t n) { return divideUp(n, PANEL) * PANEL; }

/** Floats that the panels of b take. Block by block of the depth, panel by panel: [depth of the block][PANEL]. */
INLINE int64_t panelsSize(int64_t n, int64_t k) { return paddedColumns(n) * k; }

typedef float FourFloats __attribute__((vector_size(16), aligned(4), may_alias));

/** Columns that are contiguous in memory, four at a time side by side. */
static void packAcross(const float *b, int64_t column, int64_t columns, int64_t depth, float *to) {
  int64_t j = 0;
  for (; j + 4 <= columns; j += 4) {
    const float *from = b + j * column;
    for (int64_t p = 0; p < depth; p++) {
      *(FourFloats *)(to + p * PANEL + j) = (FourFloats){from[p], from[column + p], from[2 * column + p], from[3 * column + p]};
    }
  }
  for (; j < columns; j++) for (int64_t p = 0; p < depth; p++) to[p * PANEL + j] = b[j * column + p];
  for (; j < PANEL; j++) for (int64_t p = 0; p < depth; p++) to[p * PANEL + j] = 0;
}

/** b [depth, columns] with columns <= PANEL -> [depth][PANEL], 0 behind the columns. */
static void packPanel(const float *b, int64_t row, int64_t column, int64_t columns, int64_t depth, float *to) {
  if (column != 1) {
    if (row == 1) packAcross(b, column, columns, depth, to);
    else for (int64_t p = 0; p < depth; p++) for (int64_t j = 0; j < PANEL; j++) to[p * PANEL + j] = j < columns ? b[p * row + j * column] : 0;
    return;
  }
  for (int64_t p = 0; p < depth; p++) {
    const float *from = b + p * row;
    if (columns == PANEL) store(to, load(from)), store(to + LANES, load(from + LANES));
    else for (int64_t j = 0; j < PANEL; j++) to[j] = j < columns ? from[j] : 0;
    to += PANEL;
  }
}

/** a [rows, depth] whose columns are contiguous -> tiles of [depth][TILE_ROWS], 0 behind the rows. */
static void packTiles(const float *a, int64_t column, int64_t rows, int64_t depth, float *to) {
  for (int64_t i = 0; i < rows; i += TILE_ROWS) {
    int64_t count = smaller(TILE_ROWS, rows - i);
    for (int64_t p = 0; p < depth; p++) {
      const float *from = a + i + p * column;
      if (count == TILE_ROWS) for (int r = 0; r < TILE_ROWS; r++) to[r] = from[r];
      else for (int r = 0; r < TILE_ROWS; r++) to[r] = r < count ? from[r] : 0;
      to += TILE_ROWS;
    }
  }
}

/** Adds [rows, depth] times a panel to `sums` [rows]. `rows` is a constant where this is inlined, so is one of aRow and step. */
INLINE void addProduct(const int rows, int64_t depth, const float *a, int64_t aRow, int64_t step, const float *panel, Vector (*sums)[2]) {
  for (int64_t p = 0; p < depth; p++) {
    Vector left = load(panel), right = load(panel + LANES);
    for (int i = 0; i < rows; i++) {
      Vector x = splat(a[i * aRow + p * step]);
      sums[i][0] += x * left;
      sums[i][1] += x * right;
    }
    panel += PANEL;
  }
}

/** [rows, depth] times a panel, plus `from` where it is not null -> `to` [rows, PANEL]. */
INLINE void multiplyTile(const int rows, int64_t depth, const float *a, int64_t aRow, int64_t step, const float *panel, const float *from, int64_t fromRow, float *to, int64_t toRow) {
  Vector sums[TILE_ROWS][2];
  for (int i = 0; i < rows; i++) for (int j = 0; j < 2; j++) sums[i][j] = from ? load(from + i * fromRow + j * LANES) : (Vector){0};
  addProduct(rows, depth, a, aRow, step, panel, sums);
  for (int i = 0; i < rows; i++) for (int j = 0; j < 2; j++) store(to + i * toRow + j * LANES, sums[i][j]);
}

typedef struct {
  const float *a;
  int64_t aRow;
  /** From one column of a to the next: 1, or more where its rows are side by side (aRow is 1 then). */
  int64_t step;
  int64_t depth;
  const float *panel;
  const float *from;
  int64_t fromRow;
  float *to;
  int64_t toRow;
} Tile;

#define ROWS_CASE(rows) case rows: multiplyTile(rows, t->depth, t->a, t->aRow, 1, t->panel, t->from, t->fromRow, t->to, t->toRow); return;

static void computeTile(const Tile *t, int64_t rows) {
  if (t->step != 1) { // rows behind the last can be read, but must not be written
    if (rows == TILE_ROWS) {
      multiplyTile(TILE_ROWS, t->depth, t->a, 1, t->step, t->panel, t->from, t->fromRow, t->to, t->toRow);
      return;
    }
    float whole[TILE_ROWS * PANEL];
    if (t->from) for (int64_t i = 0; i < rows; i++) memcpy(whole + i * PANEL, t->from + i * t->fromRow, PANEL * 4);
    multiplyTile(TILE_ROWS, t->depth, t->a, 1, t->step, t->panel, t->from ? whole : 0, PANEL, whole, PANEL);
    for (int64_t i = 0; i < rows; i++) memcpy(t->to + i * t->toRow, whole + i * PANEL, PANEL * 4);
    return;
  }
  switch (rows) {
    ROWS_CASE(1) ROWS_CASE(2) ROWS_CASE(3) ROWS_CASE(4) ROWS_CASE(5) ROWS_CASE(6)
#if TILE_ROWS > 6
    ROWS_CASE(7) ROWS_CASE(8) ROWS_CASE(9) ROWS_CASE(10) ROWS_CASE(11) ROWS_CASE(12)
#endif
  }
}

/** Also where fewer columns than a panel are to be written. */
static void computeEdge(const Tile *t, int64_t rows, int64_t columns) {
  if (columns == PANEL) {
    computeTile(t, rows);
    return;
  }
  float whole[TILE_ROWS * PANEL] = {0};
  if (t->from) for (int64_t i = 0; i < rows; i++) memcpy(whole + i * PANEL, t->from + i * t->fromRow, (size_t)columns * 4);
  Tile inside = *t;
  inside.from = t->from ? whole : 0, inside.fromRow = PANEL, inside.to = whole, inside.toRow = PANEL;
  computeTile(&inside, rows);
  for (int64_t i = 0; i < rows; i++) memcpy(t->to + i * t->toRow, whole + i * PANEL, (size_t)columns * 4);
}

typedef struct {
  int64_t row, rows, column, columns;
} Part;

/** Numbers of a part's row in [m, n], from `column` on; those behind the part are 0. */
INLINE Vector loadPart(const float *row, int64_t column, int64_t end) {
  return column + LANES <= end ? load(row + column) : loadSome(row + column, end - column);
}

INLINE void storePart(float *row, int64_t column, int64_t end, Vector value) {
  if (column + LANES <= end) store(row + column, value);
  else storeSome(row + column, value, end - column);
}

/** GELU of a whole tile, in place. A loop of its own: what the polynomials need stays in registers. Derivatives are read in the backward pass only. */
static __attribute__((noinline)) void activateTile(float *c, int64_t cRow, int64_t rows, float *derivatives, int64_t derivativeRow) {
  int isAligned = areAligned(derivatives, derivativeRow);
  for (int64_t i = 0; i < 2 * rows; i++) {
    float *at = c + (i >> 1) * cRow + (i & 1) * LANES;
    Vector derivative;
    store(at, gelu(load(at), &derivative));
    if (!derivatives) continue;
    float *away = derivatives + (i >> 1) * derivativeRow + (i & 1) * LANES;
    if (isAligned) storeAway(away, derivative);
    else store(away, derivative);
  }
}

/** What follows the product, on a tile that was just written and is in the innermost cache. */
static void finishTile(const Product *p, Part part) {
  const float *rest = p->addend ? p->bias : 0; // without addend the bias came first
  int64_t end = part.column + part.columns;
  int isWhole = part.columns == PANEL;
  if (rest || p->factor || !isWhole) {
    for (int64_t i = part.row; i < part.row + part.rows; i++) {
      float *c = p->c + i * p->cRow;
      for (int64_t j = part.column; j < end; j += LANES) {
        Vector x = loadPart(c, j, end), derivative = {0};
        if (rest) x += loadPart(rest, j, end);
        if (p->factor) x *= loadPart(p->factor + i * p->factorRow, j, end);
        if (p->activation && !isWhole) x = gelu(x, &derivative);
        if (p->derivative && !isWhole) storePart(p->derivative + i * p->derivativeRow, j, end, derivative);
        storePart(c, j, end, x);
      }
    }
  }
  if (!p->activation || !isWhole) return;
  float *derivatives = p->derivative ? p->derivative + part.row * p->derivativeRow + part.column : 0;
  activateTile(p->c + part.row * p->cRow + part.column, p->cRow, part.rows, derivatives, p->derivativeRow);
}

/** Asks for what a tile will read beside its operands, while the product is computed. */
INLINE void fetchPart(const float *matrix, int64_t stride, Part part) {
  if (matrix) for (int64_t i = part.row; i < part.row + part.rows; i++) for (int u = 0; u < 2 * VECTOR_BYTES; u += 64) __builtin_prefetch((const char *)(matrix + i * stride + part.column) + u);
}

/** Some of the depth. */
typedef struct {
  int64_t from, depth;
  int isLast;
} Depth;

INLINE Depth depthFrom(const Product *p, int64_t k) {
  int64_t depth = smaller(depthBlock(p->k), p->k - k);
  return (Depth){k, depth, k + depth == p->k};
}

/** Some rows and columns in a block of the depth: `panels` from the first of these columns on, and a in tiles where it does not lie row by row. */
static void multiplyBlock(const Product *p, Depth k, int64_t row, int64_t end, int64_t firstPanel, int64_t endPanel, const float *panels, const float *tiles) {
  int finishes = k.isLast && ((p->bias && p->addend) || p->factor || p->activation);
  const float *from = k.from ? p->c : p->addend ? p->addend : p->bias;
  int64_t fromRow = k.from ? p->cRow : p->addend ? p->addendRow : 0;
  for (int64_t j = firstPanel; j < endPanel; j++) {
    Tile tile = {.aRow = p->aRow, .step = tiles ? TILE_ROWS : 1, .depth = k.depth, .panel = panels + (j - firstPanel) * k.depth * PANEL, .fromRow = fromRow, .toRow = p->cRow};
    Part part = {.column = j * PANEL, .columns = smaller(PANEL, p->n - j * PANEL)};
    for (int64_t i = row; i < end; i += TILE_ROWS) {
      part.row = i, part.rows = smaller(TILE_ROWS, end - i);
      tile.a = tiles ? tiles + (i - row) * k.depth : p->a + i * p->aRow + k.from;
      tile.from = from ? from + i * fromRow + part.column : 0;
      tile.to = p->c + i * p->cRow + part.column;
      if (k.isLast) fetchPart(p->factor, p->factorRow, part);
      if (from && part.row + 2 * TILE_ROWS <= end) fetchPart(from + TILE_ROWS * fromRow, fromRow, part); // of the next tile
      computeEdge(&tile, part.rows, part.columns);
      if (finishes) finishTile(p, part);
    }
  }
}
