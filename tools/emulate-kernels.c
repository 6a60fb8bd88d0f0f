// Runs the programs that emulate-kernels.ts wrote, with the kernels that it is linked with, and says how far each is from the reference:
// a line a program and "N wrong" at the end. As the first process of a machine it switches the machine off then.
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>
#include "kernels.h"
#include "vector.h"

#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)
#define WORDS(x) #x
#define IN_WORDS(x) WORDS(x)

RunResult NAMED(run_, VARIANT)(Pool *pool, const double *words, int64_t count, uint8_t *const *buffers);

static FILE *file;

static int64_t number(void) {
  double value;
  if (fread(&value, 8, 1, file) != 1) printf("the programs end too early\n"), exit(1);
  return (int64_t)value;
}

/** What follows its own length; behind it there is room for a vector, as engines leave. */
static void *bytes(int64_t *length) {
  *length = number();
  void *memory = aligned_alloc(64, (size_t)(*length / 64 + 4) * 64);
  if (!memory || fread(memory, 1, (size_t)*length, file) != (size_t)*length) printf("the programs end too early\n"), exit(1);
  return memory;
}

/** As a share of the largest number; infinite where one is finite and the other is not. */
static double difference(const float *measured, const float *expected, int64_t count) {
  double largest = 1e-30, worst = 0;
  for (int64_t i = 0; i < count; i++) if (isfinite(expected[i]) && fabs(expected[i]) > largest) largest = fabs(expected[i]);
  for (int64_t i = 0; i < count; i++) {
    if (measured[i] == expected[i] || (isnan(measured[i]) && isnan(expected[i]))) continue;
    double off = fabs((double)measured[i] - expected[i]) / largest;
    if (!(off <= worst)) worst = isnan(off) ? INFINITY : off;
  }
  return worst;
}

static double runOne(Pool *pool) {
  int64_t length, count, wordBytes;
  char *name = bytes(&length);
  printf("%.*s: ", (int)length, name);
  double *words = bytes(&wordBytes), worst = 0;
  count = number();
  uint8_t **buffers = malloc((size_t)count * sizeof *buffers);
  for (int64_t i = 0; i < count; i++) buffers[i] = bytes(&length);
  RunResult result = NAMED(run_, VARIANT)(pool, words, wordBytes / 8, buffers);
  int64_t fetches = number();
  for (int64_t i = 0; i < fetches; i++) {
    int64_t buffer = number();
    float *expected = bytes(&length);
    double off = result == RUN_DONE ? difference((float *)buffers[buffer], expected, length / 4) : INFINITY;
    if (off > worst) worst = off;
    free(expected);
  }
  printf("%.2g%s\n", worst, worst < 5e-6 ? "" : " WRONG");
  for (int64_t i = 0; i < count; i++) free(buffers[i]);
  free(buffers), free(words), free(name);
  return worst;
}

/** However it ends, where it is all that runs. */
static void switchOff(void) {
  fflush(stdout);
  sleep(1);
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

int main(int count, char **arguments) {
  int isFirst = getpid() == 1, wrong = 0; // then its arguments are what Linux did not know of its own
  if (isFirst) atexit(switchOff);
  setvbuf(stdout, NULL, _IOLBF, 0);
  file = fopen(isFirst || count < 2 ? "/programs" : arguments[1], "rb");
  if (!file) printf("there are no programs\n"), exit(1);
  printf("%s, vectors of %d bytes\n", IN_WORDS(VARIANT), VECTOR_BYTES);
  Pool *pool = openPool(2);
  for (int64_t i = number(); i > 0; i--) if (runOne(pool) >= 5e-6) wrong++;
  printf("%d wrong\n", wrong);
  return wrong > 0;
}
