#include "pool.h"
#include <stdatomic.h>
#include <stdlib.h>
#include "memory.h"

#ifdef _WIN32
#include <windows.h>
typedef SRWLOCK Lock;
typedef CONDITION_VARIABLE Signal;
typedef HANDLE Thread;
#define THREAD_RESULT DWORD WINAPI
static void initialize(Lock *lock, Signal *signal) { InitializeSRWLock(lock), InitializeConditionVariable(signal); }
static void lock(Lock *lock) { AcquireSRWLockExclusive(lock); }
static void unlock(Lock *lock) { ReleaseSRWLockExclusive(lock); }
static void await(Signal *signal, Lock *lock) { SleepConditionVariableSRW(signal, lock, INFINITE, 0); }
static void wake(Signal *signal) { WakeAllConditionVariable(signal); }
static int begin(Thread *thread, DWORD(WINAPI *run)(void *), void *context) { return (*thread = CreateThread(NULL, 0, run, context, 0, NULL)) != NULL; }
static void join(Thread thread) { WaitForSingleObject(thread, INFINITE), CloseHandle(thread); }
#else
#include <pthread.h>
typedef pthread_mutex_t Lock;
typedef pthread_cond_t Signal;
typedef pthread_t Thread;
#define THREAD_RESULT void *
static void initialize(Lock *lock, Signal *signal) { pthread_mutex_init(lock, NULL), pthread_cond_init(signal, NULL); }
static void lock(Lock *lock) { pthread_mutex_lock(lock); }
static void unlock(Lock *lock) { pthread_mutex_unlock(lock); }
static void await(Signal *signal, Lock *lock) { pthread_cond_wait(signal, lock); }
static void wake(Signal *signal) { pthread_cond_broadcast(signal); }
static int begin(Thread *thread, void *(*run)(void *), void *context) { return pthread_create(thread, NULL, run, context) == 0; }
static void join(Thread thread) { pthread_join(thread, NULL); }
#endif

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ __volatile__("yield")
#else
#define PAUSE()
#endif

enum { mostThreads = 256 };

typedef struct {
  void *memory;
  int64_t bytes;
} Scratch;

typedef struct {
  Pool *pool;
  int index;
} Worker;

struct Pool {
  Task task;
  void *context;
  int64_t count;
  int threads, spinning, ends;
  _Atomic int64_t next;
  /** One more with each list of tasks. */
  _Atomic int64_t round;
  /** Workers that have not finished this round. */
  _Atomic int working;
  Lock lock;
  Signal begun, finished;
  Thread handles[mostThreads];
  Worker workers[mostThreads];
  Scratch own[mostThreads], shared;
};

static void work(Pool *pool, int thread) {
  int64_t task;
  while ((task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->count) pool->task(pool->context, task, thread);
}

static void awaitRound(Pool *pool, int64_t seen) {
  for (int i = 0; i < pool->spinning; i++) {
    if (atomic_load_explicit(&pool->round, memory_order_acquire) != seen) return;
    PAUSE();
  }
  lock(&pool->lock);
  while (atomic_load(&pool->round) == seen) await(&pool->begun, &pool->lock);
  unlock(&pool->lock);
}

static THREAD_RESULT workerLoop(void *given) {
  Worker *worker = given;
  Pool *pool = worker->pool;
  for (int64_t round = 0;; round++) {
    awaitRound(pool, round);
    if (pool->ends) return 0;
    work(pool, worker->index);
    if (atomic_fetch_sub_explicit(&pool->working, 1, memory_order_acq_rel) == 1) {
      lock(&pool->lock);
      wake(&pool->finished);
      unlock(&pool->lock);
    }
  }
}

static void beginRound(Pool *pool) {
  lock(&pool->lock);
  atomic_fetch_add(&pool->round, 1);
  wake(&pool->begun);
  unlock(&pool->lock);
}

Pool *openPool(int threads) {
  Pool *pool = calloc(1, sizeof(Pool));
  if (!pool) return NULL;
  pool->threads = 1;
  initialize(&pool->lock, &pool->begun);
  initialize(&pool->lock, &pool->finished);
  for (int i = 1; i < threads && i < mostThreads; i++) {
    pool->workers[i] = (Worker){pool, i};
    if (!begin(&pool->handles[i], workerLoop, &pool->workers[i])) break; // fewer threads compute the same
    pool->threads++;
  }
  return pool;
}

void closePool(Pool *pool) {
  pool->ends = 1;
  beginRound(pool);
  for (int i = 1; i < pool->threads; i++) join(pool->handles[i]);
  for (int i = 0; i < pool->threads; i++) freePages(pool->own[i].memory, pool->own[i].bytes);
  freePages(pool->shared.memory, pool->shared.bytes);
  free(pool);
}

int poolThreads(const Pool *pool) { return pool->threads; }

void setSpinning(Pool *pool, int turns) { pool->spinning = turns; }

void runTasks(Pool *pool, int64_t count, Task task, void *context) {
  if (count == 1 || pool->threads == 1) {
    for (int64_t i = 0; i < count; i++) task(context, i, 0);
    return;
  }
  pool->task = task, pool->context = context, pool->count = count;
  atomic_store(&pool->next, 0);
  atomic_store(&pool->working, pool->threads - 1);
  beginRound(pool);
  work(pool, 0);
  for (int i = 0; i < pool->spinning; i++) {
    if (atomic_load_explicit(&pool->working, memory_order_acquire) == 0) return;
    PAUSE();
  }
  lock(&pool->lock);
  while (atomic_load(&pool->working) > 0) await(&pool->finished, &pool->lock);
  unlock(&pool->lock);
}

static int grow(Scratch *scratch, int64_t bytes) {
  if (scratch->bytes >= bytes) return 1;
  freePages(scratch->memory, scratch->bytes);
  scratch->memory = allocatePages(bytes);
  scratch->bytes = scratch->memory ? bytes : 0;
  return scratch->memory != NULL;
}

int reserveScratch(Pool *pool, int64_t ownBytes, int64_t sharedBytes) {
  for (int i = 0; i < pool->threads; i++) if (!grow(&pool->own[i], ownBytes)) return 0;
  return grow(&pool->shared, sharedBytes);
}

void *ownScratch(Pool *pool, int thread) { return pool->own[thread].memory; }

void *sharedScratch(Pool *pool) { return pool->shared.memory; }
