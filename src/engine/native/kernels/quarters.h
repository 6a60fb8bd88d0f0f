// Products by Strassen's algorithm (1969), one level of it: operands and result are cut into quarters, and of the eight
// products of quarters that a product is the sum of, seven are left, of sums of quarters that are made where they are read.
// Rows are paired with rows of their chunk, columns with columns of the other half, a block of the depth with the next.
// Chunks depend on the shapes alone, hence so does the order of additions.
#pragma once
#include "product.h"

/** Quarters 0 to 3 are the first and second half of rows' first and second half of columns. A second of -1: there is none. */
typedef struct {
  int first, second;
  float sign;
} Pair;

/** (a.first + sign * a.second) times (b.first + sign * b.second) is added to to.first, and sign times that to to.second. */
static const struct {
  Pair a, b, to;
} sevenProducts[7] = {
  {{0, 3, 1}, {0, 3, 1}, {0, 3, 1}},
  {{2, 3, 1}, {0, -1, 0}, {2, 3, -1}},
  {{0, -1, 0}, {1, 3, -1}, {1, 3, 1}},
  {{3, -1, 0}, {2, 0, -1}, {0, 2, 1}},
  {{0, 1, 1}, {3, -1, 0}, {1, 0, -1}},
  {{2, 0, -1}, {0, 1, 1}, {3, -1, 0}},
  {{1, 3, -1}, {2, 3, 1}, {0, -1, 0}},
};

/** By quarter of the result: which of the seven is the first and the last to be added to it. */
static const int firstProduct[4] = {0, 2, 1, 0}, lastProduct[4] = {6, 4, 3, 5};

/** The most rows of half a chunk: their sums lie in a thread's own cache. A multiple of every TILE_ROWS. */
enum { mostHalfRows = 216 };

/** Whether columns and rows can be cut in two. */
static int isInQuarters(const Product *p) { return p->inQuarters && p->n % (2 * PANEL) == 0 && p->m >= 2 * TILE_ROWS; }

typedef struct {
  const Product *product;
  Pool *pool;
  const float *panels, *tiles;
  /** Of rows; of columns: a pair is a panel of the first half and its like of the second. */
  int64_t chunks, pairs, pairsOfTask;
} InQuarters;

/** What a task works on: a chunk of rows and some pairs of panels, in two blocks of the depth. Second halves may be smaller. */
typedef struct {
  const InQuarters *shared;
  int64_t row, rows[2], k, depth[2], firstPair;
  /** Scratch: rows of a in sum, a panel of b in sum, and what the result has come to, quarter by quarter, panel by panel. */
  float *left, *right, *results;
} Halves;

/** Rows, tiles of rows or a panel: each line contiguous. */
typedef struct {
  const float *at;
  int64_t stride, lines, length;
} Lines;

/** x + sign * y, which counts as 0 where it has fewer lines or shorter ones. */
static void sumLines(Lines x, Lines y, float sign, float *to, int64_t stride) {
  for (int64_t i = 0; i < x.lines; i++) {
    const float *left = x.at + i * x.stride, *right = y.at + i * y.stride;
    float *sum = to + i * stride;
    int64_t both = i < y.lines ? smaller(x.length, y.length) : 0, j = 0;
    for (; j + LANES <= both; j += LANES) {
      __builtin_prefetch(left + j + x.stride), __builtin_prefetch(right + j + y.stride); // of the next line
      store(sum + j, load(left + j) + sign * load(right + j));
    }
    for (; j < both; j++) sum[j] = left[j] + sign * right[j];
    memcpy(sum + j, left + j, (size_t)(x.length - j) * 4);
  }
}

static Lines leftQuarter(const Halves *h, int quarter) {
  const Product *p = h->shared->product;
  int below = quarter >> 1, behind = quarter & 1;
  int64_t row = h->row + below * h->rows[0], k = h->k + behind * h->depth[0], depth = h->depth[behind];
  if (!h->shared->tiles) return (Lines){p->a + row * p->aRow + k, p->aRow, h->rows[below], depth};
  return (Lines){h->shared->tiles + k * paddedRows(p->m) + row * depth, depth * TILE_ROWS, divideUp(h->rows[below], TILE_ROWS), depth * TILE_ROWS};
}

/** From row to row of a in sum: a little more than a whole number of vectors, so that rows are not all in one set of the cache. */
INLINE int64_t leftStride(int64_t depth) { return divideUp(depth, 16) * 16 + 16; }

/** Whole tiles of what the pair says: where they lie in memory, or in scratch. */
static Lines leftOperand(const Halves *h, Pair pair) {
  Lines first = leftQuarter(h, pair.first), none = {0};
  int64_t missing = h->shared->tiles ? 0 : divideUp(first.lines, TILE_ROWS) * TILE_ROWS - first.lines;
  if (pair.second < 0 && !missing) return first;
  int64_t stride = h->shared->tiles ? first.length : leftStride(first.length);
  sumLines(first, pair.second < 0 ? none : leftQuarter(h, pair.second), pair.sign, h->left, stride);
  memset(h->left + first.lines * stride, 0, (size_t)(missing * stride) * 4);
  return (Lines){h->left, stride, first.lines, first.length};
}

static Lines rightQuarter(const Halves *h, int quarter, int64_t pair) {
  int below = quarter >> 1;
  int64_t k = h->k + below * h->depth[0], panel = (quarter & 1) * h->shared->pairs + pair;
  return (Lines){h->shared->panels + k * h->shared->product->n + panel * h->depth[below] * PANEL, 0, 1, h->depth[below] * PANEL};
}

/** A panel of what the pair says. */
static const float *rightOperand(const Halves *h, Pair which, int64_t pair) {
  Lines first = rightQuarter(h, which.first, pair);
  if (which.second < 0) return first.at;
  sumLines(first, rightQuarter(h, which.second, pair), which.sign, h->right, 0);
  return h->right;
}

/** What becomes of a product of tiles: `to` is `from` and `sign` times it. The last `to` is the result itself, at `part`. */
typedef struct {
  const float *from;
  int64_t fromRow;
  float *to;
  int64_t toRow;
  float sign;
  Part part;
  int isLast;
} Target;

static const float zeros[PANEL];

/** In all rows of a quarter; the part's rows are those that are left from here on. */
static Target targetOf(const Halves *h, int product, int quarter, float sign, int64_t pair) {
  const Product *p = h->shared->product;
  Part part = {.row = h->row + (quarter >> 1) * h->rows[0], .rows = h->rows[quarter >> 1], .column = ((quarter & 1) * h->shared->pairs + pair) * PANEL, .columns = PANEL};
  float *result = h->results + (quarter * h->shared->pairsOfTask + pair - h->firstPair) * mostHalfRows * PANEL;
  Target t = {.from = result, .fromRow = PANEL, .to = result, .toRow = PANEL, .sign = sign, .part = part};
  t.isLast = product == lastProduct[quarter] && h->k + h->depth[0] + h->depth[1] == p->k;
  if (t.isLast) t.to = p->c + part.row * p->cRow + part.column, t.toRow = p->cRow;
  if (h->k || product != firstProduct[quarter]) return t;
  t.fromRow = p->addend ? p->addendRow : 0;
  t.from = p->addend ? p->addend + part.row * p->addendRow + part.column : p->bias ? p->bias + part.column : zeros;
  return t;
}

INLINE void addRow(const Target *t, int64_t i, const Vector *sums) {
  for (int j = 0; j < 2; j++) store(t->to + i * t->toRow + j * LANES, load(t->from + i * t->fromRow + j * LANES) + t->sign * sums[j]);
}

/** A whole tile of rows times a panel, to two targets. */
INLINE void multiplyInto(int64_t depth, const float *a, int64_t aRow, int64_t step, const float *panel, const Target *targets) {
  Vector sums[TILE_ROWS][2];
  for (int i = 0; i < TILE_ROWS; i++) for (int j = 0; j < 2; j++) sums[i][j] = (Vector){0};
  addProduct(TILE_ROWS, depth, a, aRow, step, panel, sums);
  for (int t = 0; t < 2; t++) {
    const Target target = targets[t];
    if (target.part.rows >= TILE_ROWS) for (int i = 0; i < TILE_ROWS; i++) addRow(&target, i, sums[i]);
    else for (int i = 0; i < TILE_ROWS; i++) if (i < target.part.rows) addRow(&target, i, sums[i]);
  }
}

/** Before a tile: asks for what is read beside its operands and does not lie one after the other. */
INLINE void fetchFor(const Product *p, const Target *t) {
  Part here = t->part, next = {.rows = smaller(TILE_ROWS, here.rows - TILE_ROWS)};
  here.rows = smaller(TILE_ROWS, here.rows);
  if (t->fromRow > PANEL) fetchPart(t->from + TILE_ROWS * t->fromRow, t->fromRow, next);
  if (t->isLast) fetchPart(p->factor, p->factorRow, here);
}

/** After a tile: finishes it where it is done, and goes on to the next. */
INLINE void moveDown(const Product *p, Target *t, int finishes) {
  Part here = t->part;
  here.rows = smaller(TILE_ROWS, here.rows);
  if (t->isLast && finishes && here.rows > 0) finishTile(p, here);
  t->from += TILE_ROWS * t->fromRow, t->to += TILE_ROWS * t->toRow;
  t->part.row += TILE_ROWS, t->part.rows -= TILE_ROWS;
}

/** All rows of a half of the chunk times one panel. */
static void multiplyPanel(const Halves *h, Lines left, const float *panel, int64_t depth, Target *targets) {
  const Product *p = h->shared->product;
  int finishes = (p->bias && p->addend) || p->factor || p->activation, inTiles = h->shared->tiles != 0;
  int64_t count = inTiles ? left.lines : divideUp(left.lines, TILE_ROWS);
  for (int64_t i = 0; i < count; i++) {
    for (int t = 0; t < 2; t++) fetchFor(p, &targets[t]);
    if (inTiles) multiplyInto(depth, left.at + i * left.stride, 1, TILE_ROWS, panel, targets);
    else multiplyInto(depth, left.at + i * TILE_ROWS * left.stride, left.stride, 1, panel, targets);
    for (int t = 0; t < 2; t++) moveDown(p, &targets[t], finishes);
  }
}

static void multiplySeven(const Halves *h, int64_t endPair) {
  for (int product = 0; product < 7; product++) {
    Pair a = sevenProducts[product].a, b = sevenProducts[product].b, to = sevenProducts[product].to;
    Lines left = leftOperand(h, a);
    int64_t depth = smaller(h->depth[a.first & 1], h->depth[b.first >> 1]); // beyond it one of them is 0
    for (int64_t pair = h->firstPair; pair < endPair; pair++) {
      Target targets[2] = {targetOf(h, product, to.first, 1, pair)}; // a second without rows: nothing is added to it
      if (to.second >= 0) targets[1] = targetOf(h, product, to.second, to.sign, pair);
      multiplyPanel(h, left, rightOperand(h, b, pair), depth, targets);
    }
  }
}

INLINE int64_t leftSize(const Product *p) { return mostHalfRows * leftStride(depthBlock(p->k)); }

static void quartersTask(void *context, int64_t task, int thread) {
  const InQuarters *s = context;
  const Product *p = s->product;
  int64_t units = divideUp(p->m, 2 * TILE_ROWS), chunk = task % s->chunks, block = depthBlock(p->k);
  int64_t row = chunk * units / s->chunks * 2 * TILE_ROWS, rows = smaller(p->m, (chunk + 1) * units / s->chunks * 2 * TILE_ROWS) - row;
  int64_t half = divideUp(rows, 2 * TILE_ROWS) * TILE_ROWS;
  float *scratch = ownScratch(s->pool, thread);
  Halves h = {.shared = s, .row = row, .rows = {half, rows - half}, .firstPair = task / s->chunks * s->pairsOfTask};
  h.left = scratch, h.right = h.left + leftSize(p), h.results = h.right + block * PANEL;
  for (; h.k < p->k; h.k += 2 * block) {
    h.depth[0] = smaller(block, p->k - h.k), h.depth[1] = smaller(block, p->k - h.k - h.depth[0]);
    multiplySeven(&h, smaller(s->pairs, h.firstPair + s->pairsOfTask));
  }
}

/** The whole product, by all threads. Returns 0 when there is no memory for it. */
static int multiplyInQuarters(Pool *pool, const Product *p) {
  int64_t threads = poolThreads(pool), packed = p->panels ? 0 : panelsSize(p->n, p->k), block = depthBlock(p->k), splits = 1;
  InQuarters s = {.product = p, .pool = pool, .panels = p->panels, .chunks = divideUp(p->m, 2 * mostHalfRows), .pairs = p->n / (2 * PANEL)};
  if (s.chunks > 1) s.chunks += s.chunks % 2;
  while (s.chunks * splits % threads && s.chunks * splits < 3 * threads) splits++; // columns are shared out only where chunks do not keep all threads at work
  s.pairsOfTask = divideUp(s.pairs, splits);
  int64_t own = leftSize(p) + block * PANEL + 4 * s.pairsOfTask * mostHalfRows * PANEL;
  if (!reserveScratch(pool, own * 4, (packed + (p->aColumn == 1 ? 0 : paddedRows(p->m) * p->k)) * 4)) return 0;
  SharedProduct layOut = {.product = p, .pool = pool, .panels = sharedScratch(pool), .tiles = (float *)sharedScratch(pool) + packed};
  if (!p->panels) {
    s.panels = layOut.panels;
    runTasks(pool, divideUp(divideUp(p->n, PANEL), 4), packTask, &layOut);
  }
  if (p->aColumn != 1) {
    s.tiles = layOut.tiles;
    runTasks(pool, divideUp(p->m, rowsOfTiles) * divideUp(p->k, block), tilesTask, &layOut);
  }
  runTasks(pool, s.chunks * divideUp(s.pairs, s.pairsOfTask), quartersTask, &s);
  return 1;
}
