// The Node-API side: pools of threads, memory that JavaScript only names, and lists of instructions run beside the event loop.
#include <string.h>
#include "addon.h"
#include "kernels.h"
#include "memory.h"
#include "processor.h"

typedef struct {
  void *at;
  int64_t bytes;
} Memory;

static void finalizePool(napi_env env, void *pool, void *hint) {
  (void)env, (void)hint;
  closePool(pool);
}

/** openPool(threads): a pool, whose threads end when it is collected. */
static napi_value openPoolCall(napi_env env, napi_callback_info info) {
  napi_value argument, result;
  readArguments(env, info, &argument, 1);
  Pool *pool = openPool((int)integerArgument(env, argument));
  if (!pool || napi_create_external(env, pool, finalizePool, NULL, &result) != napi_ok) return fail(env, "no memory for threads");
  return result;
}

static void releaseMemory(napi_env env, Memory *memory) {
  int64_t now;
  if (memory->at) napi_adjust_external_memory(env, -memory->bytes, &now);
  freePages(memory->at, memory->bytes);
  memory->at = NULL;
}

static void finalizeMemory(napi_env env, void *data, void *hint) {
  (void)hint;
  releaseMemory(env, data);
  free(data);
}

/** allocate(bytes): memory that instructions can name; zero. */
static napi_value allocateCall(napi_env env, napi_callback_info info) {
  napi_value argument, result;
  readArguments(env, info, &argument, 1);
  int64_t bytes = integerArgument(env, argument), now;
  Memory *memory = malloc(sizeof(Memory));
  if (memory) *memory = (Memory){allocatePages(bytes > 0 ? bytes : 64), bytes > 0 ? bytes : 64};
  if (!memory || !memory->at) {
    free(memory);
    return fail(env, "out of memory");
  }
  napi_adjust_external_memory(env, memory->bytes, &now);
  if (napi_create_external(env, memory, finalizeMemory, NULL, &result) != napi_ok) return fail(env, "out of memory");
  return result;
}

/** release(memory): gives it back at once; nothing may name it any more. */
static napi_value releaseCall(napi_env env, napi_callback_info info) {
  napi_value argument;
  readArguments(env, info, &argument, 1);
  Memory *memory = externalArgument(env, argument);
  if (memory) releaseMemory(env, memory);
  return NULL;
}

/** detach(array): gives a typed array's memory back, which a garbage collector would do much later. */
static napi_value detachCall(napi_env env, napi_callback_info info) {
  napi_value argument, buffer;
  readArguments(env, info, &argument, 1);
  if (napi_get_typedarray_info(env, argument, NULL, NULL, NULL, &buffer, NULL) == napi_ok) napi_detach_arraybuffer(env, buffer);
  return NULL;
}

typedef struct {
  Pool *pool;
  const double *words;
  int64_t count;
  uint8_t **buffers;
  RunResult result;
  /** Keeps pool, words and buffers. */
  Work work;
} Run;

static void execute(napi_env env, void *data) {
  (void)env;
  Run *run = data;
  run->result = runInstructions()(run->pool, run->words, run->count, run->buffers);
}

static void complete(napi_env env, napi_status status, void *data) {
  Run *run = data;
  napi_value result;
  const char *said = status != napi_ok ? "not run" : run->result == RUN_DONE ? "done" : run->result == RUN_NO_MEMORY ? "out of memory" : "unknown instruction";
  napi_create_string_utf8(env, said, NAPI_AUTO_LENGTH, &result);
  napi_resolve_deferred(env, run->work.promise, result);
  endWork(env, &run->work);
  free(run->buffers);
  free(run);
}

/** Where a typed array's elements, or named memory, lie; null for anything else. */
static uint8_t *addressOf(napi_env env, napi_value value) {
  bool isArray = false;
  void *data = NULL;
  if (napi_is_typedarray(env, value, &isArray) == napi_ok && isArray) {
    napi_get_typedarray_info(env, value, NULL, NULL, &data, NULL, NULL);
    return data;
  }
  Memory *memory = externalArgument(env, value);
  return memory ? memory->at : NULL;
}

static void readBuffers(napi_env env, napi_value list, Run *run, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    napi_value entry;
    napi_get_element(env, list, i, &entry);
    run->buffers[i] = addressOf(env, entry);
  }
}

/**
 * run(pool, spinning, words, buffers): resolves to "done", or what went wrong. A pool does one run at a time: the caller
 * waits for it. Nothing may be written to the buffers before it ends.
 */
static napi_value runCall(napi_env env, napi_callback_info info) {
  napi_value given[4], kept;
  readArguments(env, info, given, 4);
  uint32_t buffers = 0;
  napi_get_array_length(env, given[3], &buffers);
  Run *run = calloc(1, sizeof(Run));
  if (run) run->buffers = calloc(buffers + 1, sizeof(uint8_t *));
  if (!run || !run->buffers) {
    free(run);
    return fail(env, "out of memory");
  }
  run->pool = externalArgument(env, given[0]);
  setSpinning(run->pool, (int)integerArgument(env, given[1]));
  run->words = (const double *)(void *)addressOf(env, given[2]);
  size_t words = 0;
  napi_get_typedarray_info(env, given[2], NULL, &words, NULL, NULL, NULL);
  run->count = (int64_t)words;
  readBuffers(env, given[3], run, buffers);
  napi_create_array_with_length(env, 3, &kept);
  napi_set_element(env, kept, 0, given[0]);
  napi_set_element(env, kept, 1, given[2]);
  napi_set_element(env, kept, 2, given[3]);
  return startWork(env, &run->work, kept, execute, complete, run);
}

NAPI_MODULE_INIT() {
  napi_value set;
  setFunction(env, exports, "openPool", openPoolCall);
  setFunction(env, exports, "allocate", allocateCall);
  setFunction(env, exports, "release", releaseCall);
  setFunction(env, exports, "detach", detachCall);
  setFunction(env, exports, "run", runCall);
  exportOnnxRuntime(env, exports);
  napi_create_string_utf8(env, instructionSet(), NAPI_AUTO_LENGTH, &set);
  napi_set_named_property(env, exports, "instructionSet", set); // "" where the processor has none that the kernels need
  return exports;
}
