// Softmax attention and its gradient, one head of one image a task: its scores never leave the cache, and the gradient
// computes the probabilities again from the logarithm of their sums.
#pragma once
#include "product.h"

typedef struct {
  /** Rows are token-major: the row of a token is token * batch + image; a head has `width` contiguous columns. */
  int64_t batch, heads, width, queries, tokens;
  float scale;
  const float *q, *k, *v;
  int64_t qRow, kRow, vRow;
  /** Like q. */
  float *out;
  int64_t outRow;
  /** [batch * heads, queries]: logarithm of the sum of a row's exponentials, to the base of 2. */
  float *logSums;
  /** [batch * heads, queries, tokens], where somebody reads them; else null. */
  float *probabilities;
  /** For the gradient: of the output, and where those of q, k and v go. */
  const float *dOut;
  int64_t dOutRow;
  float *dq, *dk, *dv;
  int64_t dqRow, dkRow, dvRow;
  Pool *pool;
} Attention;

/** Blocks of queries whose scores are computed at once. */
enum { queryTiles = 4 };

typedef struct {
  const float *at;
  /** From one token to the next. */
  int64_t step;
} HeadRows;

INLINE HeadRows rowsOf(const Attention *a, const float *base, int64_t row, int64_t task) {
  return (HeadRows){base + task / a->heads * row + task % a->heads * a->width, a->batch * row};
}

/** All of an operand of depth `depth`, as panels in one block: [panel][depth][PANEL]. */
static void packHead(const float *b, int64_t row, int64_t column, int64_t columns, int64_t depth, float *to) {
  for (int64_t j = 0; j < columns; j += PANEL) packPanel(b + j * column, row, column, smaller(PANEL, columns - j), depth, to + j * depth);
}

/** Whole tiles without a call: at a head's depth that takes 7 % less (in layers, whose tiles are finished in between, nothing). */
INLINE void computeHeadTile(const Tile *t, int64_t rows, int64_t columns) {
  if (rows < TILE_ROWS || columns < PANEL) computeEdge(t, rows, columns);
  else if (t->step == 1) multiplyTile(TILE_ROWS, t->depth, t->a, t->aRow, 1, t->panel, 0, 0, t->to, t->toRow);
  else multiplyTile(TILE_ROWS, t->depth, t->a, 1, t->step, t->panel, 0, 0, t->to, t->toRow);
}

/** a [rows, depth] (its rows contiguous) times panels -> to [rows, columns]. */
static void multiplyHead(const float *a, int64_t aRow, int64_t rows, int64_t depth, const float *panels, int64_t columns, float *to, int64_t toRow) {
  for (int64_t j = 0; j < columns; j += PANEL) {
    Tile tile = {.aRow = aRow, .step = 1, .depth = depth, .panel = panels + j * depth, .toRow = toRow};
    for (int64_t i = 0; i < rows; i += TILE_ROWS) {
      tile.a = a + i * aRow, tile.to = to + i * toRow + j;
      computeHeadTile(&tile, smaller(TILE_ROWS, rows - i), smaller(PANEL, columns - j));
    }
  }
}

/** The same with a [depth, rows], its transpose. What lies behind the last row is read too. */
static void multiplyTransposed(const float *a, int64_t aColumn, int64_t rows, int64_t depth, const float *panels, int64_t columns, float *to, int64_t toRow) {
  for (int64_t j = 0; j < columns; j += PANEL) {
    Tile tile = {.step = aColumn, .depth = depth, .panel = panels + j * depth, .toRow = toRow};
    for (int64_t i = 0; i < rows; i += TILE_ROWS) {
      tile.a = a + i, tile.to = to + i * toRow + j;
      computeHeadTile(&tile, smaller(TILE_ROWS, rows - i), smaller(PANEL, columns - j));
    }
  }
}

/** Scores become exponentials, 0 behind the last token; returns their sum, and the logarithm of the sum of the true ones. */
static float exponentiateRow(float *row, int64_t tokens, int64_t padded, float scale, float *logSum) {
  float toBaseTwo = scale * log2OfE;
  Vector largest = splat(-INFINITY);
  int64_t whole = tokens / LANES * LANES;
  for (int64_t j = 0; j < whole; j += LANES) {
    largest = larger(load(row + j), largest);
  }
  float most = whole ? largestOf(largest) : row[0];
  for (int64_t j = whole; j < tokens; j++) most = row[j] > most ? row[j] : most;
  for (int64_t j = tokens; j < padded; j++) row[j] = -INFINITY;
  Vector sums = {0};
  for (int64_t j = 0; j < padded; j += LANES) {
    Vector x = powerOfTwo((load(row + j) - most) * toBaseTwo);
    store(row + j, x);
    sums += x;
  }
  float sum = sumOf(sums);
  *logSum = most * toBaseTwo + log2f(sum);
  return sum;
}

INLINE void scaleRow(float *row, int64_t count, float factor) {
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES) store(row + j, load(row + j) * factor);
  for (; j < count; j++) row[j] *= factor;
}

INLINE int64_t attentionScratch(const Attention *a) {
  int64_t tokens = paddedColumns(a->tokens), width = paddedColumns(a->width);
  return tokens * a->width + width * a->tokens + queryTiles * TILE_ROWS * tokens;
}

static void attentionTask(void *context, int64_t task, int thread) {
  const Attention *a = context;
  int64_t padded = paddedColumns(a->tokens);
  float *keys = ownScratch(a->pool, thread), *values = keys + padded * a->width, *scores = values + paddedColumns(a->width) * a->tokens;
  HeadRows q = rowsOf(a, a->q, a->qRow, task), k = rowsOf(a, a->k, a->kRow, task), v = rowsOf(a, a->v, a->vRow, task), o = rowsOf(a, a->out, a->outRow, task);
  packHead(k.at, 1, k.step, a->tokens, a->width, keys);
  packHead(v.at, v.step, 1, a->width, a->tokens, values);
  for (int64_t i = 0; i < a->queries; i += queryTiles * TILE_ROWS) {
    int64_t rows = smaller(queryTiles * TILE_ROWS, a->queries - i);
    multiplyHead(q.at + i * q.step, q.step, rows, a->width, keys, padded, scores, padded);
    float inverse[queryTiles * TILE_ROWS];
    for (int64_t r = 0; r < rows; r++) inverse[r] = 1 / exponentiateRow(scores + r * padded, a->tokens, padded, a->scale, &a->logSums[task * a->queries + i + r]);
    multiplyHead(scores, padded, rows, a->tokens, values, a->width, (float *)o.at + i * o.step, o.step);
    for (int64_t r = 0; r < rows; r++) scaleRow((float *)o.at + (i + r) * o.step, a->width, inverse[r]);
    if (a->probabilities) {
      for (int64_t r = 0; r < rows; r++) {
        scaleRow(scores + r * padded, a->tokens, inverse[r]);
        memcpy(a->probabilities + (task * a->queries + i + r) * a->tokens, scores + r * padded, (size_t)a->tokens * 4);
      }
    }
  }
}

/** Returns 0 when there is no memory for it. */
static int attend(Pool *pool, Attention *a) {
  a->pool = pool;
  if (!reserveScratch(pool, attentionScratch(a) * 4, 0)) return 0;
  runTasks(pool, a->batch * a->heads, attentionTask, a);
  return 1;
}

/** delta: the sum of dOut * out over a row. */
static float rowProduct(const float *x, const float *y, int64_t count) {
  Vector sums = {0};
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES) sums += load(x + j) * load(y + j);
  if (j < count) sums += loadSome(x + j, count - j) * loadSome(y + j, count - j);
  return sumOf(sums);
}

/** scores -> probabilities, and their gradients -> those of the scores, both in place; rows are padded, with 0 behind the last token. */
static void scoreGradients(const Attention *a, float *scores, float *gradients, int64_t padded, float logSum, float delta) {
  float toBaseTwo = a->scale * log2OfE;
  for (int64_t j = 0; j < padded; j += LANES) {
    Vector p = powerOfTwo(load(scores + j) * toBaseTwo - logSum);
    store(scores + j, p);
    store(gradients + j, p * (load(gradients + j) - delta) * a->scale);
  }
  for (int64_t j = a->tokens; j < padded; j++) scores[j] = gradients[j] = 0;
}

typedef struct {
  int64_t tokens, width, panelsByWidth, scores;
} GradientSizes;

INLINE GradientSizes gradientSizes(const Attention *a) {
  GradientSizes s = {.tokens = paddedColumns(a->tokens), .width = paddedColumns(a->width)};
  int64_t longest = a->tokens > a->queries ? a->tokens : a->queries;
  s.panelsByWidth = s.tokens * a->width > s.width * longest ? s.tokens * a->width : s.width * longest;
  s.scores = a->queries * s.tokens + TILE_ROWS;
  return s;
}

static void attentionGradientTask(void *context, int64_t task, int thread) {
  const Attention *a = context;
  GradientSizes s = gradientSizes(a);
  float *panels = ownScratch(a->pool, thread), *scores = panels + s.panelsByWidth, *gradients = scores + s.scores;
  HeadRows q = rowsOf(a, a->q, a->qRow, task), k = rowsOf(a, a->k, a->kRow, task), v = rowsOf(a, a->v, a->vRow, task);
  HeadRows o = rowsOf(a, a->out, a->outRow, task), d = rowsOf(a, a->dOut, a->dOutRow, task);
  HeadRows dq = rowsOf(a, a->dq, a->dqRow, task), dk = rowsOf(a, a->dk, a->dkRow, task), dv = rowsOf(a, a->dv, a->dvRow, task);
  packHead(k.at, 1, k.step, a->tokens, a->width, panels);
  multiplyHead(q.at, q.step, a->queries, a->width, panels, s.tokens, scores, s.tokens);
  packHead(v.at, 1, v.step, a->tokens, a->width, panels);
  multiplyHead(d.at, d.step, a->queries, a->width, panels, s.tokens, gradients, s.tokens);
  for (int64_t i = 0; i < a->queries; i++) {
    float delta = rowProduct(d.at + i * d.step, o.at + i * o.step, a->width);
    scoreGradients(a, scores + i * s.tokens, gradients + i * s.tokens, s.tokens, a->logSums[task * a->queries + i], delta);
  }
  packHead(d.at, d.step, 1, a->width, a->queries, panels);
  multiplyTransposed(scores, s.tokens, a->tokens, a->queries, panels, a->width, (float *)dv.at, dv.step);
  packHead(q.at, q.step, 1, a->width, a->queries, panels);
  multiplyTransposed(gradients, s.tokens, a->tokens, a->queries, panels, a->width, (float *)dk.at, dk.step);
  packHead(k.at, k.step, 1, a->width, a->tokens, panels);
  multiplyHead(gradients, s.tokens, a->queries, a->tokens, panels, a->width, (float *)dq.at, dq.step);
}

/** Returns 0 when there is no memory for it. */
static int attendBackwards(Pool *pool, Attention *a) {
  a->pool = pool;
  GradientSizes s = gradientSizes(a);
  if (!reserveScratch(pool, (s.panelsByWidth + 2 * s.scores) * 4, 0)) return 0;
  runTasks(pool, a->batch * a->heads, attentionGradientTask, a);
  return 1;
}
