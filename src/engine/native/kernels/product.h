// Matrix products, shared out to threads. The order of additions depends on the shapes alone, not on threads or chunks.
#pragma once
#include "pool.h"
#include "tile.h"

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
static int multiply(Pool *pool, const Product *p) {
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
