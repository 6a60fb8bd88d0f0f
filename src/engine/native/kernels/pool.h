// Threads that work on one task list after another; which thread does which task changes no result.
#pragma once
#include <stdint.h>

typedef struct Pool Pool;
typedef void (*Task)(void *context, int64_t task, int thread);

/** `threads` counts the caller, which works too. Null where the system gives no threads. */
Pool *openPool(int threads);
void closePool(Pool *pool);
int poolThreads(const Pool *pool);

/** How many times waiting threads look before they sleep. */
void setSpinning(Pool *pool, int turns);

/** Runs tasks 0 to count - 1; returns when all are done. */
void runTasks(Pool *pool, int64_t count, Task task, void *context);

/** Room for each thread and for all together, 64-byte aligned, its contents undefined. Not while tasks run. 0 when there is no memory. */
int reserveScratch(Pool *pool, int64_t ownBytes, int64_t sharedBytes);
void *ownScratch(Pool *pool, int thread);
void *sharedScratch(Pool *pool);
