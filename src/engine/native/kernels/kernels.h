// What the addon calls: one function for each instruction set that the kernels were compiled for.
#pragma once
#include "pool.h"

typedef enum { RUN_DONE, RUN_NO_MEMORY, RUN_UNKNOWN_INSTRUCTION } RunResult;

/**
 * Runs a list of instructions (instructions.ts): each is its code, its length in words and its words. An operand is the
 * number of a buffer, -1 for none, and an offset in bytes.
 */
typedef RunResult (*RunInstructions)(Pool *pool, const double *words, int64_t count, uint8_t *const *buffers);

RunResult run_avx512(Pool *pool, const double *words, int64_t count, uint8_t *const *buffers);
RunResult run_avx2(Pool *pool, const double *words, int64_t count, uint8_t *const *buffers);
RunResult run_neon(Pool *pool, const double *words, int64_t count, uint8_t *const *buffers);
