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
enum { mostDepth = 256 };

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

/** [rows, depth] times a panel, plus `from` where it is not null -> `to` [rows, PANEL]. `rows` is a constant where this is inlined, so is aRow or step. */
INLINE void multiplyTile(const int rows, int64_t depth, const float *a, int64_t aRow, int64_t step, const float *panel, const float *from, int64_t fromRow, float *to, int64_t toRow) {
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
    float *at = c + (i >> 1) * cRow + (i & 1) * LANES, *away = derivatives + (i >> 1) * derivativeRow + (i & 1) * LANES;
    Vector derivative;
    store(at, gelu(load(at), &derivative));
    if (!derivatives) continue;
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

/** Some rows and columns, from panels of all of b. `tiles` has room for those rows in the depth of a block, where a's columns are contiguous. */
static void multiplyChunk(const Product *p, const float *panels, int64_t row, int64_t end, int64_t firstPanel, int64_t endPanel, float *tiles) {
  int inTiles = p->aColumn != 1;
  for (int64_t k = 0; k < p->k; k += depthBlock(p->k)) {
    Depth depth = depthFrom(p, k);
    if (inTiles) packTiles(p->a + row * p->aRow + k * p->aColumn, p->aColumn, end - row, depth.depth, tiles);
    multiplyBlock(p, depth, row, end, firstPanel, endPanel, panels + k * paddedColumns(p->n) + firstPanel * depth.depth * PANEL, inTiles ? tiles : 0);
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
  float *panels, *tiles;
  int64_t rowChunks, panelsOfChunk;
} SharedProduct;

static void packTask(void *context, int64_t task, int thread) {
  SharedProduct *s = context;
  (void)thread;
  int64_t count = divideUp(s->product->n, PANEL);
  for (int64_t j = task * 4; j < smaller(count, task * 4 + 4); j++) packPanels(s->product, j, s->panels);
}

/** Chunks differ by one tile at most, so that threads which share them end together. */
static int64_t chunkStart(const SharedProduct *s, int64_t chunk) {
  int64_t tiles = divideUp(s->product->m, TILE_ROWS);
  return smaller(s->product->m, chunk * tiles / s->rowChunks * TILE_ROWS);
}

static void chunkTask(void *context, int64_t task, int thread) {
  SharedProduct *s = context;
  const Product *p = s->product;
  int64_t chunk = task % s->rowChunks, panel = task / s->rowChunks * s->panelsOfChunk;
  multiplyChunk(p, s->panels, chunkStart(s, chunk), chunkStart(s, chunk + 1), panel, smaller(divideUp(p->n, PANEL), panel + s->panelsOfChunk), ownScratch(s->pool, thread));
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

/** Rows of a chunk: more where the panels do not fit into a thread's own cache and every chunk reads them from further away. */
INLINE int64_t chunkRows(const Product *p) { return panelsSize(p->n, p->k) * 4 > 1 << 20 ? 200 : 80; }

/** A thread's own panels: as many as its cache holds beside some rows of a. */
enum { ownPanels = 8, rowsOfTiles = 96 };

INLINE int64_t paddedRows(int64_t m) { return divideUp(m, TILE_ROWS) * TILE_ROWS; }

/** Some rows of a block of the depth, of a whose columns are contiguous, into tiles that all threads read. */
static void tilesTask(void *context, int64_t task, int thread) {
  SharedProduct *s = context;
  const Product *p = s->product;
  (void)thread;
  int64_t ranges = divideUp(p->m, rowsOfTiles), row = task % ranges * rowsOfTiles;
  Depth k = depthFrom(p, task / ranges * depthBlock(p->k));
  packTiles(p->a + row * p->aRow + k.from * p->aColumn, p->aColumn, smaller(rowsOfTiles, p->m - row), k.depth, s->tiles + k.from * paddedRows(p->m) + row * k.depth);
}

/** All rows of some columns, whose panels are laid out where they are read at once. */
static void columnsTask(void *context, int64_t task, int thread) {
  SharedProduct *s = context;
  const Product *p = s->product;
  float *panels = ownScratch(s->pool, thread);
  int64_t first = task * s->panelsOfChunk, end = smaller(divideUp(p->n, PANEL), first + s->panelsOfChunk), rows = paddedRows(chunkRows(p));
  for (int64_t at = 0; at < p->k; at += depthBlock(p->k)) {
    Depth k = depthFrom(p, at);
    for (int64_t j = first; j < end; j++) {
      packPanel(p->b + at * p->bRow + j * PANEL * p->bColumn, p->bRow, p->bColumn, smaller(PANEL, p->n - j * PANEL), k.depth, panels + (j - first) * k.depth * PANEL);
    }
    for (int64_t row = 0; row < p->m; row += rows) {
      multiplyBlock(p, k, row, smaller(p->m, row + rows), first, end, panels, s->tiles ? s->tiles + at * paddedRows(p->m) + row * k.depth : 0);
    }
  }
}

/** Where there are columns enough for all threads and b is not laid out: every part of it is laid out by the thread that reads it. */
static int multiplyColumns(Pool *pool, const Product *p) {
  int64_t threads = poolThreads(pool), count = divideUp(p->n, PANEL);
  int inTiles = p->aColumn != 1;
  SharedProduct shared = {.product = p, .pool = pool, .panelsOfChunk = divideUp(count, divideUp(divideUp(count, ownPanels), threads) * threads)};
  if (!reserveScratch(pool, shared.panelsOfChunk * PANEL * depthBlock(p->k) * 4, inTiles ? paddedRows(p->m) * p->k * 4 : 0)) return 0;
  if (inTiles) {
    shared.tiles = sharedScratch(pool);
    runTasks(pool, divideUp(p->m, rowsOfTiles) * divideUp(p->k, depthBlock(p->k)), tilesTask, &shared);
  }
  runTasks(pool, divideUp(count, shared.panelsOfChunk), columnsTask, &shared);
  return 1;
}

/** The whole product, by all threads. Returns 0 when there is no memory for it. */
static int multiply(Pool *pool, const Product *given) {
  Product scaled = scaleAddend(given), *p = &scaled;
  int64_t threads = poolThreads(pool), count = divideUp(p->n, PANEL);
  if (!p->panels && count >= 4 * threads && p->m >= 4 * TILE_ROWS) return multiplyColumns(pool, p);
  SharedProduct shared = {.product = p, .pool = pool, .panels = (float *)p->panels};
  shared.rowChunks = divideUp(p->m, chunkRows(p));
  if (p->m >= 2 * threads * TILE_ROWS) shared.rowChunks = divideUp(shared.rowChunks, threads) * threads; // no thread waits for the last chunk
  int64_t splits = shared.rowChunks >= threads ? 1 : smaller(count, divideUp(2 * threads, shared.rowChunks));
  shared.panelsOfChunk = divideUp(count, splits);
  if (!reserveScratch(pool, p->aColumn == 1 ? 0 : tilesSize(divideUp(p->m, shared.rowChunks) + TILE_ROWS, p->k) * 4, p->panels ? 0 : panelsSize(p->n, p->k) * 4)) return 0;
  if (!p->panels) {
    shared.panels = sharedScratch(pool);
    runTasks(pool, divideUp(count, 4), packTask, &shared);
  }
  runTasks(pool, shared.rowChunks * divideUp(count, shared.panelsOfChunk), chunkTask, &shared);
  return 1;
}

/** A multiple of every TILE_ROWS. */
enum { aloneRows = 84 };

/** Floats of scratch that a product takes which one thread computes alone. */
INLINE int64_t aloneSize(const Product *p) { return panelsSize(p->n, p->k) + (p->aColumn == 1 ? 0 : tilesSize(aloneRows, p->k)); }

/** The whole product by one thread, in scratch of `aloneSize`. */
static void multiplyAlone(const Product *p, float *scratch) {
  int64_t count = divideUp(p->n, PANEL);
  float *tiles = scratch + panelsSize(p->n, p->k);
  for (int64_t j = 0; j < count; j++) packPanels(p, j, scratch);
  for (int64_t i = 0; i < p->m; i += aloneRows) multiplyChunk(p, scratch, i, smaller(p->m, i + aloneRows), 0, count, tiles);
}
