// Instructions, one after the other. Compiled once for each instruction set, as run_<VARIANT>.
#include "kernels.h"
#include "move.h"
#include "quarters.h"
#include "read.h"
#include "together.h"

#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)

static int doProduct(Pool *pool, Reader *r) {
  Product given = readProduct(r), p = scaleAddend(&given);
  return isInQuarters(&p) ? multiplyInQuarters(pool, &p) : multiply(pool, &p);
}

static int doPack(Pool *pool, Reader *r) {
  Product p = readProduct(r);
  SharedProduct shared = {.product = &p, .pool = pool, .panels = (float *)p.panels};
  runTasks(pool, divideUp(divideUp(p.n, PANEL), 4), packTask, &shared);
  return 1;
}

enum { batchAxes = 3 };

typedef struct {
  Product one;
  int64_t shape[batchAxes], aStrides[batchAxes], bStrides[batchAxes], cStride;
  Pool *pool;
} Batch;

static void batchTask(void *context, int64_t task, int thread) {
  const Batch *batch = context;
  Product p = batch->one;
  int64_t rest = task;
  for (int axis = batchAxes - 1; axis >= 0; axis--) {
    int64_t at = rest % batch->shape[axis];
    rest /= batch->shape[axis];
    p.a += at * batch->aStrides[axis], p.b += at * batch->bStrides[axis];
  }
  p.c += task * batch->cStride;
  multiplyAlone(&p, ownScratch(batch->pool, thread));
}

static int doBatchedProduct(Pool *pool, Reader *r) {
  Batch batch = {.one = readProduct(r), .pool = pool};
  int64_t count = 1;
  for (int axis = 0; axis < batchAxes; axis++) {
    batch.shape[axis] = number(r), batch.aStrides[axis] = number(r), batch.bStrides[axis] = number(r);
    count *= batch.shape[axis];
  }
  batch.cStride = number(r);
  if (!reserveScratch(pool, aloneSize(&batch.one) * 4, 0)) return 0;
  runTasks(pool, count, batchTask, &batch);
  return 1;
}

static int doAttention(Pool *pool, Reader *r) {
  Attention a = readAttention(r);
  a.probabilities = operand(r);
  return attend(pool, &a);
}

static int doAttentionGradient(Pool *pool, Reader *r) {
  Attention a = readAttention(r);
  a.dOut = operand(r), a.dOutRow = number(r);
  a.dq = operand(r), a.dqRow = number(r);
  a.dk = operand(r), a.dkRow = number(r);
  a.dv = operand(r), a.dvRow = number(r);
  return attendBackwards(pool, &a);
}

static int doChain(Pool *pool, Reader *r) {
  Chain chain = readChain(r);
  return runChain(pool, &chain);
}

static int doLayerNorm(Pool *pool, Reader *r) {
  LayerNorm n = readLayerNorm(r);
  layerNorm(pool, &n);
  return 1;
}

static int doLayerNormGradient(Pool *pool, Reader *r) {
  LayerNormGradient n = readLayerNormGradient(r);
  layerNormGradient(pool, &n);
  return 1;
}

static int doSoftmax(Pool *pool, Reader *r) {
  Softmax s = {.rows = number(r)};
  s.width = number(r), s.logarithm = (int)number(r), s.x = operand(r), s.y = operand(r);
  softmax(pool, &s);
  return 1;
}

static int doReduce(Pool *pool, Reader *r) {
  Reduce reduction = readReduce(r);
  reduce(pool, &reduction);
  return 1;
}

static int doCopy(Pool *pool, Reader *r) {
  Copy c;
  for (int axis = 0; axis < copyAxes; axis++) c.shape[axis] = number(r), c.fromStrides[axis] = number(r), c.toStrides[axis] = number(r);
  c.from = operand(r), c.to = operand(r);
  copyElements(pool, &c);
  return 1;
}

static int doFill(Pool *pool, Reader *r) {
  Fill f = {.at = operand(r)};
  f.count = number(r), f.value = (float)*r->next++;
  fill(pool, &f);
  return 1;
}

static int doAddAt(Reader *r) {
  float *to = operand(r);
  const float *indices = operand(r), *values = operand(r);
  addAt(to, indices, values, number(r));
  return 1;
}

static int doTakeAt(Reader *r) {
  const float *from = operand(r), *indices = operand(r);
  float *values = operand(r);
  takeAt(from, indices, values, number(r));
  return 1;
}

RunResult NAMED(run_, VARIANT)(Pool *pool, const double *words, int64_t count, uint8_t *const *buffers) {
  for (const double *at = words; at < words + count; at += (int64_t)at[1]) {
    Reader reader = {.next = at + 2, .end = at + (int64_t)at[1], .buffers = buffers}, *r = &reader;
    int done;
    switch ((Instruction)*at) {
      case DO_PRODUCT: done = doProduct(pool, r); break;
      case DO_PACK: done = doPack(pool, r); break;
      case DO_BATCHED_PRODUCT: done = doBatchedProduct(pool, r); break;
      case DO_ATTENTION: done = doAttention(pool, r); break;
      case DO_ATTENTION_GRADIENT: done = doAttentionGradient(pool, r); break;
      case DO_CHAIN: done = doChain(pool, r); break;
      case DO_LAYER_NORM: done = doLayerNorm(pool, r); break;
      case DO_LAYER_NORM_GRADIENT: done = doLayerNormGradient(pool, r); break;
      case DO_SOFTMAX: done = doSoftmax(pool, r); break;
      case DO_REDUCE: done = doReduce(pool, r); break;
      case DO_COPY: done = doCopy(pool, r); break;
      case DO_FILL: done = doFill(pool, r); break;
      case DO_ADD_AT: done = doAddAt(r); break;
      case DO_TAKE_AT: done = doTakeAt(r); break;
      case DO_TOGETHER: done = computeTogether(pool, r); break;
      default: return RUN_UNKNOWN_INSTRUCTION;
    }
    if (done < 0) return RUN_UNKNOWN_INSTRUCTION;
    if (!done) return RUN_NO_MEMORY;
  }
  return RUN_DONE;
}
