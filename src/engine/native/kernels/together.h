// Instructions that are computed together, some rows at a time: what one of them makes is in the thread's own cache when the next reads it.
#pragma once
#include "read.h"

/** Each reads of what the others make only the rows that it makes itself. */
typedef struct {
  Reader instructions;
  int64_t rows, floatsOfRow, chunks;
  /** Weights that were not laid out beforehand, one behind the other. */
  float *panels;
  /** Of every sum down columns what blocks of rows come to, one behind the other. */
  float *sums;
  Pool *pool;
} Together;

/** What a thread holds of its rows: about half of its cache. */
enum { mostOwnBytes = 1 << 18, mostOwnRows = 80 };

/** Chunks depend on shapes and threads, results do not. */
static int64_t chunksOf(const Together *s) {
  int64_t threads = poolThreads(s->pool), ofCache = mostOwnBytes / 4 / (s->floatsOfRow + 1), rows = smaller(mostOwnRows, ofCache > blockRows ? ofCache : blockRows);
  return divideUp(divideUp(s->rows, rows), threads) * threads;
}

INLINE int64_t ownFloats(const Together *s) { return (divideUp(s->rows, s->chunks) + blockRows) * s->floatsOfRow; }

static int64_t blocksSize(const Together *s, const Reduce *sum) { return divideUp(s->rows, blockRows) * sum->inner; }

static void sumBlocks(const Reduce *sum, int64_t row, int64_t end, float *blocks) {
  for (int64_t i = row; i < end; i += blockRows) {
    for (int64_t j = 0; j < sum->inner; j += columnsOfTask) {
      Vector stripe[stripeVectors];
      int64_t columns = smaller(columnsOfTask, sum->inner - j);
      reduceBlock(REDUCE_SUM, sum->x + i * sum->xRow + j, sum->xRow, smaller(blockRows, end - i), columns, stripe);
      storeStripe(blocks + i / blockRows * sum->inner + j, stripe, columns);
    }
  }
}

INLINE Reader readerAt(const Together *s, const double *at, uint8_t *rows) { return (Reader){at + 2, at + (int64_t)at[1], s->instructions.buffers, rows}; }

/** Blocks are never cut, nor are tiles. */
static int64_t firstRow(const Together *s, int64_t chunk) { return smaller(s->rows, chunk * divideUp(s->rows, blockRows) / s->chunks * blockRows); }

static void togetherTask(void *context, int64_t task, int thread) {
  const Together *s = context;
  int64_t row = firstRow(s, task), end = firstRow(s, task + 1);
  float *own = ownScratch(s->pool, thread), *panels = s->panels, *sums = s->sums;
  for (const double *at = s->instructions.next; at < s->instructions.end; at += (int64_t)at[1]) {
    Reader reader = readerAt(s, at, (uint8_t *)own - row * s->floatsOfRow * 4), *r = &reader;
    if (*at == DO_PRODUCT) {
      Product p = readProduct(r);
      multiplyChunk(&p, p.panels ? p.panels : panels, row, end, 0, divideUp(p.n, PANEL), 0);
      if (!p.panels) panels += panelsSize(p.n, p.k);
    } else if (*at == DO_CHAIN) {
      Chain c = readChain(r);
      chainSegments(&c, row * segmentsOfRow(&c), end * segmentsOfRow(&c), own + ownFloats(s));
    } else if (*at == DO_LAYER_NORM) {
      LayerNorm n = readLayerNorm(r);
      layerNormRows(&n, row, end);
    } else if (*at == DO_REDUCE) {
      Reduce sum = readReduce(r);
      sumBlocks(&sum, row, end, sums);
      sums += blocksSize(s, &sum);
    } else {
      LayerNormGradient n = readLayerNormGradient(r);
      layerNormGradientRows(&n, row, end);
    }
  }
}

/** Lays weights out that were not, or only counts the floats that they take: where `to` is null. */
static int64_t layOutWeights(const Together *s, float *to) {
  int64_t size = 0;
  for (const double *at = s->instructions.next; at < s->instructions.end; at += (int64_t)at[1]) {
    if (*at != DO_PRODUCT) continue;
    Reader reader = readerAt(s, at, 0);
    Product p = readProduct(&reader);
    if (p.panels) continue;
    SharedProduct shared = {.product = &p, .pool = s->pool, .panels = to + size};
    if (to) runTasks(s->pool, divideUp(divideUp(p.n, PANEL), 4), packTask, &shared);
    size += panelsSize(p.n, p.k);
  }
  return size;
}

/** Sums up what blocks of rows came to, or only counts the floats that these take: where `blocks` is null. */
static int64_t finishSums(const Together *s, float *blocks) {
  int64_t size = 0;
  for (const double *at = s->instructions.next; at < s->instructions.end; at += (int64_t)at[1]) {
    if (*at != DO_REDUCE) continue;
    Reader reader = readerAt(s, at, 0);
    Reduce sum = readReduce(&reader);
    Reduce ofBlocks = {.kind = REDUCE_SUM, .outer = 1, .count = divideUp(s->rows, blockRows), .inner = sum.inner, .x = blocks + size, .xRow = sum.inner, .y = sum.y, .block = 1};
    if (blocks) reduce(s->pool, &ofBlocks);
    size += blocksSize(s, &sum);
  }
  return size;
}

INLINE int isRowwise(double code) { return code == DO_PRODUCT || code == DO_CHAIN || code == DO_LAYER_NORM || code == DO_LAYER_NORM_GRADIENT || code == DO_REDUCE; }

/** Returns 0 when there is no memory for it, and -1 where an instruction is none that can be computed so. */
static int computeTogether(Pool *pool, Reader *r) {
  Together s = {.pool = pool};
  s.rows = number(r), s.floatsOfRow = number(r), s.instructions = *r;
  s.chunks = chunksOf(&s);
  for (const double *at = r->next; at < r->end; at += (int64_t)at[1]) {
    if (!isRowwise(*at)) return -1;
  }
  int64_t ofWeights = layOutWeights(&s, 0);
  if (!reserveScratch(pool, (ownFloats(&s) + chainScratch) * 4, (ofWeights + finishSums(&s, 0)) * 4)) return 0;
  s.panels = sharedScratch(pool), s.sums = s.panels + ofWeights;
  layOutWeights(&s, s.panels);
  runTasks(pool, s.chunks, togetherTask, &s);
  finishSums(&s, s.sums);
  return 1;
}
