// What is computed along rows: LayerNorm and its gradient, softmax, sums and largest values.
#pragma once
#include "product.h"

enum { rowsOfTask = 16, columnsOfTask = 64 };

typedef struct {
  int64_t rows, width, xRow;
  float epsilon;
  const float *x;
  /** [rows, width] and [rows], null where nobody reads them. */
  float *normalized, *inverse;
  /** [width]; with them y = normalized * gamma + beta. */
  const float *gamma, *beta;
  float *y;
  int64_t yRow;
} LayerNorm;

INLINE float sumOfRow(const float *x, int64_t width) {
  Vector sums[4] = {{0}, {0}, {0}, {0}};
  int64_t j = 0;
  for (; j + 4 * LANES <= width; j += 4 * LANES) for (int u = 0; u < 4; u++) sums[u] += load(x + j + u * LANES);
  for (; j + LANES <= width; j += LANES) sums[0] += load(x + j);
  if (j < width) sums[1] += loadSome(x + j, width - j);
  return sumOf((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/** Sum of the squared differences from `mean`. */
INLINE float spreadOfRow(const float *x, int64_t width, float mean) {
  Vector sums[2] = {{0}, {0}};
  int64_t j = 0;
  for (; j + 2 * LANES <= width; j += 2 * LANES) {
    for (int u = 0; u < 2; u++) {
      Vector difference = load(x + j + u * LANES) - mean;
      sums[u] += difference * difference;
    }
  }
  float rest = 0;
  for (; j < width; j++) rest += (x[j] - mean) * (x[j] - mean);
  return sumOf(sums[0] + sums[1]) + rest;
}

static void layerNormRows(const LayerNorm *n, int64_t row, int64_t end) {
  for (int64_t i = row; i < end; i++) {
    const float *x = n->x + i * n->xRow;
    float mean = sumOfRow(x, n->width) / (float)n->width;
    float inverse = 1 / sqrtf(spreadOfRow(x, n->width, mean) / (float)n->width + n->epsilon);
    if (n->inverse) n->inverse[i] = inverse;
    float *normalized = n->normalized ? n->normalized + i * n->width : 0, *y = n->y ? n->y + i * n->yRow : 0;
    int isForLater = y && normalized && areAligned(normalized, 0);
    int64_t j = 0;
    for (; j + LANES <= n->width; j += LANES) {
      Vector value = (load(x + j) - mean) * inverse;
      if (isForLater) storeAway(normalized + j, value);
      else if (normalized) store(normalized + j, value);
      if (y) store(y + j, value * load(n->gamma + j) + load(n->beta + j));
    }
    for (; j < n->width; j++) {
      float value = (x[j] - mean) * inverse;
      if (normalized) normalized[j] = value;
      if (y) y[j] = value * n->gamma[j] + n->beta[j];
    }
  }
}

static void layerNormTask(void *context, int64_t task, int thread) {
  const LayerNorm *n = context;
  (void)thread;
  layerNormRows(n, task * rowsOfTask, smaller(n->rows, (task + 1) * rowsOfTask));
}

static void layerNorm(Pool *pool, LayerNorm *n) { runTasks(pool, divideUp(n->rows, rowsOfTask), layerNormTask, n); }

typedef struct {
  int64_t rows, width, dyRow;
  const float *dy, *normalized, *inverse;
  /** [width]: dy is multiplied by it first; null where not. */
  const float *gamma;
  /** [rows, width]: added to the result; null where nothing is. */
  const float *addend;
  int64_t addendRow;
  float *dx;
  int64_t dxRow;
} LayerNormGradient;

static void layerNormGradientRows(const LayerNormGradient *n, int64_t row, int64_t end) {
  int64_t width = n->width, whole = width / LANES * LANES;
  for (int64_t i = row; i < end; i++) {
    const float *dy = n->dy + i * n->dyRow, *normalized = n->normalized + i * width, *addend = n->addend ? n->addend + i * n->addendRow : 0;
    float *dx = n->dx + i * n->dxRow;
    Vector sums = {0}, projections = {0};
    float sum = 0, projection = 0;
    for (int64_t j = 0; j < whole; j += LANES) {
      Vector d = n->gamma ? load(dy + j) * load(n->gamma + j) : load(dy + j);
      sums += d;
      projections += d * load(normalized + j);
    }
    for (int64_t j = whole; j < width; j++) {
      float d = n->gamma ? dy[j] * n->gamma[j] : dy[j];
      sum += d;
      projection += d * normalized[j];
    }
    float mean = (sumOf(sums) + sum) / (float)width, slope = (sumOf(projections) + projection) / (float)width, inverse = n->inverse[i];
    for (int64_t j = 0; j < whole; j += LANES) {
      Vector d = n->gamma ? load(dy + j) * load(n->gamma + j) : load(dy + j);
      Vector value = (d - mean - load(normalized + j) * slope) * inverse;
      store(dx + j, addend ? value + load(addend + j) : value);
    }
    for (int64_t j = whole; j < width; j++) {
      float d = n->gamma ? dy[j] * n->gamma[j] : dy[j];
      float value = (d - mean - normalized[j] * slope) * inverse;
      dx[j] = addend ? value + addend[j] : value;
    }
  }
}

static void layerNormGradientTask(void *context, int64_t task, int thread) {
  const LayerNormGradient *n = context;
  (void)thread;
  layerNormGradientRows(n, task * rowsOfTask, smaller(n->rows, (task + 1) * rowsOfTask));
}

static void layerNormGradient(Pool *pool, LayerNormGradient *n) { runTasks(pool, divideUp(n->rows, rowsOfTask), layerNormGradientTask, n); }

typedef struct {
  int64_t rows, width;
  const float *x;
  float *y;
  /** 1: the logarithm of it. */
  int logarithm;
} Softmax;

static void softmaxTask(void *context, int64_t task, int thread) {
  const Softmax *s = context;
  (void)thread;
  for (int64_t i = task * rowsOfTask; i < smaller(s->rows, (task + 1) * rowsOfTask); i++) {
    const float *x = s->x + i * s->width;
    float *y = s->y + i * s->width, most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < s->width; j++) most = x[j] > most ? x[j] : most;
    for (int64_t j = 0; j < s->width; j += LANES) {
      int64_t count = smaller(LANES, s->width - j);
      Vector value = exponential(loadSome(x + j, count) - most);
      for (int64_t u = 0; u < count; u++) sum += value[u];
      if (!s->logarithm) storeSome(y + j, value, count);
    }
    float logSum = logf(sum);
    for (int64_t j = 0; j < s->width; j++) y[j] = s->logarithm ? x[j] - most - logSum : y[j] / sum;
  }
}

static void softmax(Pool *pool, Softmax *s) { runTasks(pool, divideUp(s->rows, rowsOfTask), softmaxTask, s); }

/** Down columns so many rows are combined first, then what these come to. A multiple of every TILE_ROWS. */
enum { blockRows = 12 };

/** Numbers are those of reductionCodes in instructions.ts. */
typedef enum { REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX } Reduction;

typedef struct {
  Reduction kind;
  /** x [outer, count, inner] -> y [outer, inner]. */
  int64_t outer, count, inner;
  const float *x;
  /** From one of `count` to the next. */
  int64_t xRow;
  float *y;
  /** `blockRows`, or 1 where x is what blocks came to. */
  int64_t block;
} Reduce;

INLINE Vector combine(Reduction kind, Vector a, Vector b) { return kind == REDUCE_MAX ? choose(b > a, b, a) : a + b; }

/** Along rows that are contiguous. */
static void reduceRowsTask(void *context, int64_t task, int thread) {
  const Reduce *r = context;
  (void)thread;
  for (int64_t i = task * rowsOfTask; i < smaller(r->outer, (task + 1) * rowsOfTask); i++) {
    const float *x = r->x + i * r->count;
    if (r->kind == REDUCE_MAX) {
      float most = x[0];
      for (int64_t j = 1; j < r->count; j++) most = x[j] > most ? x[j] : most;
      r->y[i] = most;
    } else {
      float sum = sumOfRow(x, r->count);
      r->y[i] = r->kind == REDUCE_MEAN ? sum / (float)r->count : sum;
    }
  }
}

enum { stripeVectors = columnsOfTask / LANES };

/** Some rows of a stripe of at most `columnsOfTask` columns, in their order. */
INLINE void reduceBlock(Reduction kind, const float *x, int64_t xRow, int64_t rows, int64_t columns, Vector *y) {
  int64_t whole = columns / LANES, rest = columns % LANES;
  for (int64_t v = 0; v < whole; v++) y[v] = load(x + v * LANES);
  if (rest) y[whole] = loadSome(x + whole * LANES, rest);
  for (int64_t i = 1; i < rows; i++) {
    x += xRow;
    for (int64_t v = 0; v < whole; v++) y[v] = combine(kind, y[v], load(x + v * LANES));
    if (rest) y[whole] = combine(kind, y[whole], loadSome(x + whole * LANES, rest));
  }
}

INLINE void storeStripe(float *to, const Vector *from, int64_t columns) {
  for (int64_t v = 0; v * LANES < columns; v++) storeSome(to + v * LANES, from[v], smaller(LANES, columns - v * LANES));
}

/** Down the columns of a stripe: four blocks of rows at a time. */
static void reduceColumnsTask(void *context, int64_t task, int thread) {
  const Reduce *r = context;
  (void)thread;
  int64_t stripes = divideUp(r->inner, columnsOfTask), outer = task / stripes, first = task % stripes * columnsOfTask, columns = smaller(columnsOfTask, r->inner - first);
  const float *x = r->x + outer * r->count * r->xRow + first;
  Vector start = r->kind == REDUCE_MAX ? splat(-INFINITY) : splat(0), sums[4][stripeVectors], block[stripeVectors];
  for (int u = 0; u < 4; u++) for (int v = 0; v < stripeVectors; v++) sums[u][v] = start;
  for (int64_t b = 0; b * r->block < r->count; b++) {
    int64_t row = b * r->block;
    reduceBlock(r->kind, x + row * r->xRow, r->xRow, smaller(r->block, r->count - row), columns, block);
    for (int64_t v = 0; v * LANES < columns; v++) sums[b % 4][v] = combine(r->kind, sums[b % 4][v], block[v]);
  }
  for (int64_t v = 0; v * LANES < columns; v++) {
    Vector all = combine(r->kind, combine(r->kind, sums[0][v], sums[1][v]), combine(r->kind, sums[2][v], sums[3][v]));
    block[v] = r->kind == REDUCE_MEAN ? all / (float)r->count : all;
  }
  storeStripe(r->y + outer * r->inner + first, block, columns);
}

static void reduce(Pool *pool, Reduce *r) {
  if (r->inner == 1) runTasks(pool, divideUp(r->outer, rowsOfTask), reduceRowsTask, r);
  else runTasks(pool, r->outer * divideUp(r->inner, columnsOfTask), reduceColumnsTask, r);
}
