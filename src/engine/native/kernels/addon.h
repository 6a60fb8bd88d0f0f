// What the files of the Node-API side share: reading what JavaScript hands over.
#pragma once
#include <node_api.h>
#include <stdint.h>
#include <stdlib.h>

static inline napi_value fail(napi_env env, const char *message) {
  napi_throw_error(env, NULL, message ? message : "unknown error");
  return NULL;
}

static inline void readArguments(napi_env env, napi_callback_info info, napi_value *given, size_t count) {
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
}

static inline int64_t integerArgument(napi_env env, napi_value value) {
  int64_t result = 0;
  napi_get_value_int64(env, value, &result);
  return result;
}

static inline void *externalArgument(napi_env env, napi_value value) {
  void *result = NULL;
  napi_get_value_external(env, value, &result);
  return result;
}

static inline int isArray(napi_env env, napi_value value) {
  bool result = false;
  return napi_is_array(env, value, &result) == napi_ok && result;
}

typedef struct {
  void *at;
  size_t count;
} Bytes;

/** Of a typed array; nothing for anything else. */
static inline Bytes bytesOf(napi_env env, napi_value value) {
  bool isOne = false;
  Bytes bytes = {0};
  napi_typedarray_type type;
  if (napi_is_typedarray(env, value, &isOne) != napi_ok || !isOne) return bytes;
  napi_get_typedarray_info(env, value, &type, &bytes.count, &bytes.at, NULL, NULL);
  static const uint8_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8}; // by the numbers of napi_typedarray_type
  bytes.count *= (size_t)type < sizeof sizes ? sizes[type] : 1;
  return bytes;
}

/** A string in memory of its own; null where it is none. */
static inline char *newString(napi_env env, napi_value value) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return NULL;
  char *string = malloc(length + 1);
  if (string) napi_get_value_string_utf8(env, value, string, length + 1, NULL);
  return string;
}

static inline char *newStringAt(napi_env env, napi_value list, uint32_t index) {
  napi_value value;
  return napi_get_element(env, list, index, &value) == napi_ok ? newString(env, value) : NULL;
}

static inline void setFunction(napi_env env, napi_value exports, const char *name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, NULL, &function);
  napi_set_named_property(env, exports, name, function);
}

/** Something that a thread beside the event loop does, and the promise of its result. */
typedef struct {
  napi_deferred promise;
  napi_ref kept;
  napi_async_work work;
} Work;

/** Starts it; `kept` stays alive until endWork. Returns the promise. */
static inline napi_value startWork(napi_env env, Work *work, napi_value kept, napi_async_execute_callback execute, napi_async_complete_callback complete, void *data) {
  napi_value promise, name;
  napi_create_reference(env, kept, 1, &work->kept);
  napi_create_promise(env, &work->promise, &promise);
  napi_create_string_utf8(env, "peft-lab", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, NULL, name, execute, complete, data, &work->work);
  napi_queue_async_work(env, work->work);
  return promise;
}

static inline void endWork(napi_env env, Work *work) {
  napi_delete_reference(env, work->kept);
  napi_delete_async_work(env, work->work);
}

/** See onnxruntime.c. */
void exportOnnxRuntime(napi_env env, napi_value exports);
