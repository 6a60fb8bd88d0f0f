// The instructions' words to the kernels' arguments. Compiled once for each instruction set, as run_<VARIANT>.
#include "kernels.h"
#include "attention.h"
#include "elementwise.h"
#include "move.h"
#include "quarters.h"
#include "rows.h"

#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)

/** Numbers are those of instructionCodes in instructions.ts. */
typedef enum {
  DO_PRODUCT, DO_PACK, DO_BATCHED_PRODUCT, DO_ATTENTION, DO_ATTENTION_GRADIENT, DO_CHAIN, DO_LAYER_NORM, DO_LAYER_NORM_GRADIENT,
  DO_SOFTMAX, DO_REDUCE, DO_COPY, DO_FILL, DO_ADD_AT, DO_TAKE_AT,
} Instruction;

typedef struct {
  const double *next;
  uint8_t *const *buffers;
} Reader;

static int64_t number(Reader *r) { return (int64_t)*r->next++; }

static void *operand(Reader *r) {
  int64_t buffer = number(r), offset = number(r);
  return buffer < 0 ? 0 : r->buffers[buffer] + offset;
}

static Product readProduct(Reader *r) {
  Product p = {0};
  p.a = operand(r), p.aRow = number(r), p.aColumn = number(r);
  p.b = operand(r), p.bRow = number(r), p.bColumn = number(r);
  p.c = operand(r), p.cRow = number(r);
  p.m = number(r), p.n = number(r), p.k = number(r);
  p.panels = operand(r);
  p.bias = operand(r);
  p.addend = operand(r), p.addendRow = number(r), p.keep = operand(r);
  p.factor = operand(r), p.factorRow = number(r);
  p.activation = (int)number(r);
  p.derivative = operand(r), p.derivativeRow = number(r);
  p.inQuarters = (int)number(r);
  return p;
}

static int doProduct(Pool *pool, Reader *r) {
  Product given = readProduct(r), p = scaleAddend(&given);
  return paysInQuarters(&p) ? multiplyInQuarters(pool, &p) : multiply(pool, &p);
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

static Attention readAttention(Reader *r) {
  Attention a = {.batch = number(r)};
  a.heads = number(r), a.width = number(r), a.queries = number(r), a.tokens = number(r);
  a.scale = (float)*r->next++;
  a.q = operand(r), a.qRow = number(r);
  a.k = operand(r), a.kRow = number(r);
  a.v = operand(r), a.vRow = number(r);
  a.out = operand(r), a.outRow = number(r);
  a.logSums = operand(r);
  return a;
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
  Chain chain;
  for (int axis = 0; axis < axes; axis++) chain.shape[axis] = number(r);
  chain.inputCount = (int)number(r), chain.stepCount = (int)number(r), chain.outputCount = (int)number(r);
  for (int i = 0; i < chain.inputCount; i++) {
    ChainInput *input = &chain.inputs[i];
    input->at = operand(r), input->isByte = (int)number(r), input->value = (float)*r->next++;
    for (int axis = 0; axis < axes; axis++) input->strides[axis] = number(r);
  }
  for (int i = 0; i < chain.stepCount; i++) {
    chain.steps[i].code = (StepCode)number(r);
    chain.steps[i].a = (int)number(r), chain.steps[i].b = (int)number(r), chain.steps[i].c = (int)number(r);
  }
  for (int i = 0; i < chain.outputCount; i++) chain.outputs[i].from = (int)number(r), chain.outputs[i].at = operand(r);
  return runChain(pool, &chain);
}

static int doLayerNorm(Pool *pool, Reader *r) {
  LayerNorm n = {.rows = number(r)};
  n.width = number(r), n.epsilon = (float)*r->next++;
  n.x = operand(r), n.xRow = number(r);
  n.normalized = operand(r), n.inverse = operand(r);
  n.gamma = operand(r), n.beta = operand(r), n.y = operand(r);
  layerNorm(pool, &n);
  return 1;
}

static int doLayerNormGradient(Pool *pool, Reader *r) {
  LayerNormGradient n = {.rows = number(r)};
  n.width = number(r);
  n.dy = operand(r), n.dyRow = number(r);
  n.normalized = operand(r), n.inverse = operand(r), n.gamma = operand(r), n.addend = operand(r), n.dx = operand(r);
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
  Reduce reduction = {.kind = (Reduction)number(r)};
  reduction.outer = number(r), reduction.count = number(r), reduction.inner = number(r);
  reduction.x = operand(r), reduction.y = operand(r);
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
    Reader reader = {at + 2, buffers}, *r = &reader;
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
      default: return RUN_UNKNOWN_INSTRUCTION;
    }
    if (!done) return RUN_NO_MEMORY;
  }
  return RUN_DONE;
}
