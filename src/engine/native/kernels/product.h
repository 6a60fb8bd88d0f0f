// Matrix products: one operand is laid out in panels of as many columns as two vectors hold, then tiles of a few rows and
// one panel are computed in registers. The order of additions depends on the shapes alone, not on threads or chunks.
#pragma once
#include "pool.h"
#include "vector.h"

#define PANEL (2 * LANES)
#if defined(__AVX512F__)
#define TILE_ROWS 12 // 24 sums, two vectors of the panel and what they are multiplied by, of 32 registers
#elif defined(__aarch64__)
#define TILE_ROWS 12
#else
#define TILE_ROWS 6 // 12 sums of 16 registers
#endif

/** How much of the depth is multiplied at once: a panel of it stays in the innermost cache. */
enum { mostDepth = 256, chunkRows = 80 };

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
} Product;

INLINE int64_t divideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t depthBlock(int64_t k) { return divideUp(k, divideUp(k, mostDepth)); }
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

/** [rows, depth] times a panel, plus `from` where it is not null -> `to` [rows, PANEL]. `rows` and `step` are constants where this is inlined. */
INLINE void multiplyTile(const int rows, int64_t depth, const float *a, int64_t aRow, const int64_t step, const float *panel, const float *from, int64_t fromRow, float *to, int64_t toRow) {
  Vector sums[TILE_ROWS][2];
  for (int i = 0; i < rows; i++) for (int j = 0; j < 2; j++) sums[i][j] = from ? load(from + i * fromRow + j * LANES) : (Vector){0};
  for (int64_t p = 0; p < depth; p++) {
    Vector left = load(panel), right = load(panel + LANES);
    for (int i = 0; i < rows; i++) {
      Vector x = splat(a[i * aRow + p * step]);
      sums[i][0] += x * left;
      sums[i][1] += x * right;
    }
    panel += PANEL;
  }
  for (int i = 0; i < rows; i++) for (int j = 0; j < 2; j++) store(to + i * toRow + j * LANES, sums[i][j]);
}

typedef struct {
  const float *a;
  int64_t aRow;
  /** Whether a lies in tiles; else rows are contiguous. */
  int inTiles;
  int64_t depth;
  const float *panel;
  const float *from;
  int64_t fromRow;
  float *to;
  int64_t toRow;
} Tile;

#define ROWS_CASE(rows) case rows: multiplyTile(rows, t->depth, t->a, t->aRow, 1, t->panel, t->from, t->fromRow, t->to, t->toRow); return;

static void computeTile(const Tile *t, int64_t rows) {
  if (t->inTiles) { // rows behind the last are 0 there, but must not be written
    if (rows == TILE_ROWS) {
      multiplyTile(TILE_ROWS, t->depth, t->a, 1, TILE_ROWS, t->panel, t->from, t->fromRow, t->to, t->toRow);
      return;
    }
    float whole[TILE_ROWS * PANEL];
    if (t->from) for (int64_t i = 0; i < rows; i++) memcpy(whole + i * PANEL, t->from + i * t->fromRow, PANEL * 4);
    multiplyTile(TILE_ROWS, t->depth, t->a, 1, TILE_ROWS, t->panel, t->from ? whole : 0, PANEL, whole, PANEL);
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

/** Bias, factor and activation on some rows of a panel's columns, which the products have just left in the innermost cache. */
static void finishPanel(const Product *p, int64_t row, int64_t end, int64_t column, int64_t columns) {
  for (int64_t i = row; i < end; i++) {
    for (int64_t j = column; j < column + columns; j += LANES) {
      int64_t count = smaller(LANES, column + columns - j);
      Vector x = count == LANES ? load(p->c + i * p->cRow + j) : loadSome(p->c + i * p->cRow + j, count);
      if (p->bias) x += count == LANES ? load(p->bias + j) : loadSome(p->bias + j, count);
      if (p->factor) x *= count == LANES ? load(p->factor + i * p->factorRow + j) : loadSome(p->factor + i * p->factorRow + j, count);
      if (p->activation) {
        Vector derivative;
        x = gelu(x, &derivative);
        if (p->derivative) storeSome(p->derivative + i * p->derivativeRow + j, derivative, count);
      }
      if (count == LANES) store(p->c + i * p->cRow + j, x);
      else storeSome(p->c + i * p->cRow + j, x, count);
    }
  }
}

/** Some rows and panels of the product. `tiles` has room for those rows in the depth of a block, where a's columns are contiguous. */
static void multiplyChunk(const Product *p, const float *panels, int64_t row, int64_t end, int64_t firstPanel, int64_t endPanel, float *tiles) {
  int64_t block = depthBlock(p->k), columns = paddedColumns(p->n);
  int inTiles = p->aColumn != 1;
  int finishes = p->bias || p->factor || p->activation;
  for (int64_t k = 0; k < p->k; k += block) {
    int64_t depth = smaller(block, p->k - k);
    if (inTiles) packTiles(p->a + row * p->aRow + k * p->aColumn, p->aColumn, end - row, depth, tiles);
    const float *from = k ? p->c : p->addend;
    int64_t fromRow = k ? p->cRow : p->addendRow;
    for (int64_t j = firstPanel; j < endPanel; j++) {
      int64_t width = smaller(PANEL, p->n - j * PANEL);
      Tile tile = {.aRow = p->aRow, .inTiles = inTiles, .depth = depth, .panel = panels + k * columns + j * depth * PANEL, .fromRow = fromRow, .toRow = p->cRow};
      for (int64_t i = row; i < end; i += TILE_ROWS) {
        tile.a = inTiles ? tiles + (i - row) * depth : p->a + i * p->aRow + k;
        tile.from = from ? from + i * fromRow + j * PANEL : 0;
        tile.to = p->c + i * p->cRow + j * PANEL;
        computeEdge(&tile, smaller(TILE_ROWS, end - i), width);
      }
      if (finishes && k + depth == p->k) finishPanel(p, row, end, j * PANEL, width);
    }
  }
}

/** One panel of b, all of its depth. */
static void packPanels(const Product *p, int64_t panel, float *to) {
  int64_t block = depthBlock(p->k), columns = paddedColumns(p->n), j = panel * PANEL;
  for (int64_t k = 0; k < p->k; k += block) {
    int64_t depth = smaller(block, p->k - k);
    packPanel(p->b + k * p->bRow + j * p->bColumn, p->bRow, p->bColumn, smaller(PANEL, p->n - j), depth, to + k * columns + j * depth);
  }
}

INLINE int64_t tilesSize(int64_t rows, int64_t k) { return divideUp(rows, TILE_ROWS) * TILE_ROWS * depthBlock(k); }

typedef struct {
  const Product *product;
  Pool *pool;
  float *panels;
  int64_t rowsOfChunk, rowChunks, panelsOfChunk;
} SharedProduct;

static void packTask(void *context, int64_t task, int thread) {
  SharedProduct *s = context;
  (void)thread;
  int64_t count = divideUp(s->product->n, PANEL);
  for (int64_t j = task * 4; j < smaller(count, task * 4 + 4); j++) packPanels(s->product, j, s->panels);
}

static void chunkTask(void *context, int64_t task, int thread) {
  SharedProduct *s = context;
  const Product *p = s->product;
  int64_t row = task % s->rowChunks * s->rowsOfChunk, panel = task / s->rowChunks * s->panelsOfChunk;
  multiplyChunk(p, s->panels, row, smaller(p->m, row + s->rowsOfChunk), panel, smaller(divideUp(p->n, PANEL), panel + s->panelsOfChunk), ownScratch(s->pool, thread));
}

/** Lets the addend be what it is multiplied by `keep`: as it is, nothing, or c, into which it is written. */
static Product scaleAddend(const Product *given) {
  Product p = *given;
  float keep = p.keep ? *p.keep : 1;
  if (!p.addend || keep == 1) return p;
  if (keep == 0) p.addend = 0;
  else {
    for (int64_t i = 0; i < p.m; i++) for (int64_t j = 0; j < p.n; j++) p.c[i * p.cRow + j] = keep * p.addend[i * p.addendRow + j];
    p.addend = p.c, p.addendRow = p.cRow;
  }
  return p;
}

/** The whole product, by all threads. Returns 0 when there is no memory for it. */
static int multiply(Pool *pool, const Product *given) {
  Product scaled = scaleAddend(given), *p = &scaled;
  int64_t threads = poolThreads(pool), count = divideUp(p->n, PANEL);
  SharedProduct shared = {.product = p, .pool = pool, .panels = (float *)p->panels};
  int64_t chunks = divideUp(p->m, chunkRows);
  if (p->m >= 2 * threads * TILE_ROWS) chunks = divideUp(chunks, threads) * threads; // no thread waits for the last chunk
  shared.rowsOfChunk = divideUp(divideUp(p->m, chunks), TILE_ROWS) * TILE_ROWS;
  shared.rowChunks = divideUp(p->m, shared.rowsOfChunk);
  int64_t splits = shared.rowChunks >= threads ? 1 : smaller(count, divideUp(2 * threads, shared.rowChunks));
  shared.panelsOfChunk = divideUp(count, splits);
  if (!reserveScratch(pool, p->aColumn == 1 ? 0 : tilesSize(shared.rowsOfChunk, p->k) * 4, p->panels ? 0 : panelsSize(p->n, p->k) * 4)) return 0;
  if (!p->panels) {
    shared.panels = sharedScratch(pool);
    runTasks(pool, divideUp(count, 4), packTask, &shared);
  }
  runTasks(pool, shared.rowChunks * divideUp(count, shared.panelsOfChunk), chunkTask, &shared);
  return 1;
}

/** Floats of scratch that a product takes which one thread computes alone. */
INLINE int64_t aloneSize(const Product *p) { return panelsSize(p->n, p->k) + (p->aColumn == 1 ? 0 : tilesSize(chunkRows, p->k)); }

/** The whole product by one thread, in scratch of `aloneSize`. */
static void multiplyAlone(const Product *p, float *scratch) {
  int64_t count = divideUp(p->n, PANEL);
  float *tiles = scratch + panelsSize(p->n, p->k);
  for (int64_t j = 0; j < count; j++) packPanels(p, j, scratch);
  int64_t rows = chunkRows / TILE_ROWS * TILE_ROWS;
  for (int64_t i = 0; i < p->m; i += rows) multiplyChunk(p, scratch, i, smaller(p->m, i + rows), 0, count, tiles);
}
