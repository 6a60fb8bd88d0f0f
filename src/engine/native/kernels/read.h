// What words say: a list of numbers to the kernels' arguments, in the order in which write.ts puts them down.
#pragma once
#include "attention.h"
#include "elementwise.h"
#include "rows.h"

/** Numbers are those of instructionCodes in instructions.ts. */
typedef enum {
  DO_PRODUCT, DO_PACK, DO_BATCHED_PRODUCT, DO_ATTENTION, DO_ATTENTION_GRADIENT, DO_CHAIN, DO_LAYER_NORM, DO_LAYER_NORM_GRADIENT,
  DO_SOFTMAX, DO_REDUCE, DO_COPY, DO_FILL, DO_ADD_AT, DO_TAKE_AT, DO_TOGETHER,
} Instruction;

typedef struct {
  /** The next word, and behind the instruction's last. */
  const double *next, *end;
  uint8_t *const *buffers;
  /** Where row 0 would be of what a thread holds for the rows that it works on. */
  uint8_t *rows;
} Reader;

/** Numbers of buffers that are none. */
enum { noBuffer = -1, ownRows = -2 };

static int64_t number(Reader *r) { return (int64_t)*r->next++; }

static void *operand(Reader *r) {
  int64_t buffer = number(r), offset = number(r);
  return buffer == noBuffer ? 0 : (buffer == ownRows ? r->rows : r->buffers[buffer]) + offset;
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

static Chain readChain(Reader *r) {
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
  for (int i = 0; i < chain.outputCount; i++) chain.outputs[i].from = (int)number(r), chain.outputs[i].at = operand(r), chain.outputs[i].row = number(r);
  return chain;
}

static LayerNorm readLayerNorm(Reader *r) {
  LayerNorm n = {.rows = number(r)};
  n.width = number(r), n.epsilon = (float)*r->next++;
  n.x = operand(r), n.xRow = number(r);
  n.normalized = operand(r), n.inverse = operand(r);
  n.gamma = operand(r), n.beta = operand(r);
  n.y = operand(r), n.yRow = number(r);
  return n;
}

static LayerNormGradient readLayerNormGradient(Reader *r) {
  LayerNormGradient n = {.rows = number(r)};
  n.width = number(r);
  n.dy = operand(r), n.dyRow = number(r);
  n.normalized = operand(r), n.inverse = operand(r), n.gamma = operand(r);
  n.addend = operand(r), n.addendRow = number(r);
  n.dx = operand(r), n.dxRow = number(r);
  return n;
}

static Reduce readReduce(Reader *r) {
  Reduce reduction = {.kind = (Reduction)number(r), .block = blockRows};
  reduction.outer = number(r), reduction.count = number(r), reduction.inner = number(r);
  reduction.x = operand(r), reduction.xRow = number(r);
  reduction.y = operand(r);
  return reduction;
}
