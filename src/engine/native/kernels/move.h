// What moves elements without computing: slices, transposes, joining, repeating, padding, and picking by index.
#pragma once
#include "product.h"

enum { copyAxes = 6, copiedOfTask = 16384 };

typedef struct {
  int64_t shape[copyAxes], fromStrides[copyAxes], toStrides[copyAxes];
  const float *from;
  float *to;
  int64_t rows, rowsOfTask;
} Copy;

static void copyTask(void *context, int64_t task, int thread) {
  const Copy *c = context;
  (void)thread;
  int64_t length = c->shape[copyAxes - 1], fromStride = c->fromStrides[copyAxes - 1], toStride = c->toStrides[copyAxes - 1];
  for (int64_t row = task * c->rowsOfTask; row < smaller(c->rows, (task + 1) * c->rowsOfTask); row++) {
    const float *from = c->from;
    float *to = c->to;
    int64_t rest = row;
    for (int axis = copyAxes - 2; axis >= 0; axis--) {
      int64_t at = rest % c->shape[axis];
      rest /= c->shape[axis];
      from += at * c->fromStrides[axis], to += at * c->toStrides[axis];
    }
    if (fromStride == 1 && toStride == 1) memcpy(to, from, (size_t)length * 4);
    else for (int64_t i = 0; i < length; i++) to[i * toStride] = from[i * fromStride];
  }
}

static void copyElements(Pool *pool, Copy *c) {
  c->rows = 1;
  for (int axis = 0; axis < copyAxes - 1; axis++) c->rows *= c->shape[axis];
  c->rowsOfTask = divideUp(copiedOfTask, c->shape[copyAxes - 1] + 1);
  runTasks(pool, divideUp(c->rows, c->rowsOfTask), copyTask, c);
}

typedef struct {
  float *at;
  int64_t count;
  float value;
} Fill;

static void fillTask(void *context, int64_t task, int thread) {
  const Fill *f = context;
  (void)thread;
  for (int64_t i = task * copiedOfTask; i < smaller(f->count, (task + 1) * copiedOfTask); i++) f->at[i] = f->value;
}

static void fill(Pool *pool, Fill *f) { runTasks(pool, divideUp(f->count, copiedOfTask), fillTask, f); }

/** to[indices] += values; each index is there once. */
static void addAt(float *to, const float *indices, const float *values, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[(int64_t)indices[i]] += values[i];
}

static void takeAt(const float *from, const float *indices, float *values, int64_t count) {
  for (int64_t i = 0; i < count; i++) values[i] = from[(int64_t)indices[i]];
}
