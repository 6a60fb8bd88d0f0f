// Chains of element-wise operations, done block by block on what fits into the innermost cache: whatever the chain's
// length, each of its inputs is read from memory once, and each of its outputs written once.
#pragma once
#include "product.h"

enum { axes = 4, blockSize = 256, mostInputs = 24, mostSteps = 32, taskElements = 8192 };

/** Numbers and order are those of elementwiseCodes in instructions.ts. */
typedef enum {
  STEP_ADD, STEP_SUB, STEP_MULTIPLY, STEP_DIVIDE, STEP_MAXIMUM, STEP_MINIMUM, STEP_POWER,
  STEP_GREATER, STEP_GREATER_EQUAL, STEP_LESS, STEP_LESS_EQUAL, STEP_EQUAL,
  STEP_ABS, STEP_ERF, STEP_EXP, STEP_LOG, STEP_NEGATE, STEP_RELU, STEP_RECIPROCAL, STEP_RSQRT, STEP_SIGMOID, STEP_SQRT,
  STEP_SQUARE, STEP_STEP, STEP_TANH, STEP_SELECT, STEP_GELU, STEP_GELU_DERIVATIVE, STEP_COPY,
} StepCode;

typedef struct {
  /** f32, or u8 where `isByte`; null: the number `value` everywhere. */
  const void *at;
  int isByte;
  float value;
  /** Elements from one to the next along each axis; 0 where it is broadcast, and 0 or 1 along the last. */
  int64_t strides[axes];
} ChainInput;

typedef struct {
  StepCode code;
  /** Inputs of the chain come first, then what its steps make. */
  int a, b, c;
} ChainStep;

typedef struct {
  int from;
  float *at;
  /** From one row of the last axis to the next. */
  int64_t row;
} ChainOutput;

typedef struct {
  int64_t shape[axes];
  int inputCount, stepCount, outputCount;
  ChainInput inputs[mostInputs];
  ChainStep steps[mostSteps];
  ChainOutput outputs[mostSteps];
  int64_t segments, segmentsOfTask;
  Pool *pool;
} Chain;

#define EACH(expression) for (int64_t i = 0; i < n; i += LANES) { Vector x = load(a + i); store(to + i, expression); } return;
#define EACH_PAIR(expression) for (int64_t i = 0; i < n; i += LANES) { Vector x = load(a + i), y = load(b + i); store(to + i, expression); } return;
#define EACH_NUMBER(expression) for (int64_t i = 0; i < n; i++) { float x = a[i]; to[i] = expression; } return;
#define TRUTH(condition) choose(condition, splat(1), splat(0))

/** `n` is a multiple of LANES. */
static void runStep(StepCode code, int64_t n, const float *a, const float *b, const float *c, float *to) {
  Vector derivative;
  switch (code) {
    case STEP_ADD: EACH_PAIR(x + y)
    case STEP_SUB: EACH_PAIR(x - y)
    case STEP_MULTIPLY: EACH_PAIR(x * y)
    case STEP_DIVIDE: EACH_PAIR(x / y)
    case STEP_MAXIMUM: EACH_PAIR(choose(x > y, x, choose(x == x, y, x)))
    case STEP_MINIMUM: EACH_PAIR(choose(x < y, x, choose(x == x, y, x)))
    case STEP_POWER: for (int64_t i = 0; i < n; i++) to[i] = powf(a[i], b[i]); return;
    case STEP_GREATER: EACH_PAIR(TRUTH(x > y))
    case STEP_GREATER_EQUAL: EACH_PAIR(TRUTH(x >= y))
    case STEP_LESS: EACH_PAIR(TRUTH(x < y))
    case STEP_LESS_EQUAL: EACH_PAIR(TRUTH(x <= y))
    case STEP_EQUAL: EACH_PAIR(TRUTH(x == y))
    case STEP_ABS: EACH(choose(x < 0, -x, x))
    case STEP_ERF: EACH(errorFunction(x))
    case STEP_EXP: EACH(exponential(x))
    case STEP_LOG: EACH_NUMBER(logf(x))
    case STEP_NEGATE: EACH(-x)
    case STEP_RELU: EACH(choose(x < 0, splat(0), x))
    case STEP_RECIPROCAL: EACH(1.0f / x)
    case STEP_RSQRT: EACH_NUMBER(1 / sqrtf(x))
    case STEP_SIGMOID: EACH(sigmoid(x))
    case STEP_SQRT: EACH_NUMBER(sqrtf(x))
    case STEP_SQUARE: EACH(x * x)
    case STEP_STEP: EACH(TRUTH(x > 0))
    case STEP_TANH: EACH_NUMBER(tanhf(x))
    case STEP_SELECT: for (int64_t i = 0; i < n; i += LANES) store(to + i, choose(load(a + i) != 0, load(b + i), load(c + i))); return;
    case STEP_GELU: EACH(gelu(x, &derivative))
    case STEP_GELU_DERIVATIVE: EACH((gelu(x, &derivative), derivative))
    case STEP_COPY: EACH(x)
  }
}

static void fillBlock(float *block, int64_t n, float value) {
  for (int64_t i = 0; i < n; i++) block[i] = value;
}

/** Where `n` elements of an input from `offset` on can be read; what does not lie so in memory is put into `block`. */
static const float *readInput(const ChainInput *input, int64_t offset, int64_t n, int64_t padded, float *block) {
  int isOne = input->strides[axes - 1] == 0;
  if (input->isByte) {
    const uint8_t *from = (const uint8_t *)input->at + offset;
    if (isOne) fillBlock(block, padded, from[0]);
    else for (int64_t i = 0; i < n; i++) block[i] = from[i];
    return block;
  }
  const float *from = (const float *)input->at + offset;
  if (isOne) fillBlock(block, padded, from[0]);
  else if (padded != n) memcpy(block, from, (size_t)n * 4);
  else return from;
  return block;
}

INLINE int64_t segmentsOfRow(const Chain *chain) { return divideUp(chain->shape[3], blockSize); }

enum { chainScratch = (mostInputs + mostSteps) * blockSize };

/** Some segments, each at most a block of a row of the last axis, in scratch of `chainScratch` floats. */
static void chainSegments(const Chain *chain, int64_t segment, int64_t end, float *blocks) {
  const float *values[mostInputs + mostSteps];
  int64_t length = chain->shape[3], ofRow = segmentsOfRow(chain);
  for (int i = 0; i < chain->inputCount; i++) {
    const ChainInput *input = &chain->inputs[i];
    int isScalar = !input->strides[0] && !input->strides[1] && !input->strides[2] && !input->strides[3];
    if (!isScalar) continue;
    values[i] = blocks + i * blockSize;
    fillBlock((float *)values[i], blockSize, !input->at ? input->value : input->isByte ? *(const uint8_t *)input->at : *(const float *)input->at);
  }
  for (; segment < end; segment++) {
    int64_t row = segment / ofRow, first = segment % ofRow * blockSize;
    int64_t n = smaller(blockSize, length - first), padded = divideUp(n, LANES) * LANES;
    int64_t at[axes] = {row / chain->shape[2] / chain->shape[1], row / chain->shape[2] % chain->shape[1], row % chain->shape[2], first};
    for (int i = 0; i < chain->inputCount; i++) {
      const ChainInput *input = &chain->inputs[i];
      int isScalar = !input->strides[0] && !input->strides[1] && !input->strides[2] && !input->strides[3];
      if (isScalar) continue;
      int64_t offset = 0;
      for (int axis = 0; axis < axes; axis++) offset += at[axis] * input->strides[axis];
      values[i] = readInput(input, offset, n, padded, blocks + i * blockSize);
    }
    for (int i = 0; i < chain->stepCount; i++) {
      const ChainStep *step = &chain->steps[i];
      int made = chain->inputCount + i;
      float *to = blocks + made * blockSize;
      runStep(step->code, padded, values[step->a], values[step->b], values[step->c], to);
      values[made] = to;
    }
    // All is read before anything is written: an output may lie where an input does.
    for (int i = 0; i < chain->outputCount; i++) memcpy(chain->outputs[i].at + row * chain->outputs[i].row + first, values[chain->outputs[i].from], (size_t)n * 4);
  }
}

static void chainTask(void *context, int64_t task, int thread) {
  const Chain *chain = context;
  chainSegments(chain, task * chain->segmentsOfTask, smaller(chain->segments, (task + 1) * chain->segmentsOfTask), ownScratch(chain->pool, thread));
}

/** Returns 0 when there is no memory for it. */
static int runChain(Pool *pool, Chain *chain) {
  if (!reserveScratch(pool, chainScratch * 4, 0)) return 0;
  chain->pool = pool;
  chain->segments = chain->shape[0] * chain->shape[1] * chain->shape[2] * segmentsOfRow(chain);
  int64_t ofSegment = smaller(blockSize, chain->shape[3]);
  chain->segmentsOfTask = ofSegment > 0 ? divideUp(taskElements, ofSegment) : 1;
  runTasks(pool, divideUp(chain->segments, chain->segmentsOfTask), chainTask, chain);
  return 1;
}
