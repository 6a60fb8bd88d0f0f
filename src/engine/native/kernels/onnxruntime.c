// Sessions of ONNX Runtime whose outputs stay on a CUDA device and are inputs of the next run, which its own Node.js package
// knows for WebGPU only. The library is loaded from a file; with CUDA left out, all of it works on the processor as well.
#include <dlfcn.h>
#include <string.h>
#include "addon.h"
#include "onnxruntime.h"

typedef struct {
#define DECLARE(place, result, name, parameters) result (*name) parameters;
  ONNX_FUNCTIONS(DECLARE)
#undef DECLARE
} Api;

/** One for a process: whatever file a second one is asked for from, the first library stays. */
static Api api;
static Environment *environment;
static Allocator *allocator;
static MemoryInfo *hostMemory;

/** Whether that went wrong; then the exception is thrown, if nothing was before. */
static int failed(napi_env env, Status *status) {
  if (!status) return 0;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) fail(env, api.getErrorMessage(status));
  api.releaseStatus(status);
  return 1;
}

/** openOnnxRuntime(file): loads the library, once for a process. */
static napi_value openRuntime(napi_env env, napi_callback_info info) {
  napi_value given[1];
  readArguments(env, info, given, 1);
  if (allocator) return NULL;
  char *file = newString(env, given[0]);
  void *library = file ? dlopen(file, RTLD_NOW | RTLD_LOCAL) : NULL;
  free(file);
  const ApiBase *(*getBase)(void) = library ? (const ApiBase *(*)(void))dlsym(library, "OrtGetApiBase") : NULL;
  if (!getBase) return fail(env, dlerror());
  void *const *table = getBase()->getApi(apiVersion);
  if (!table) return fail(env, "this ONNX Runtime is older than 1.17");
#define TAKE(place, result, name, parameters) api.name = (result (*) parameters)table[place];
  ONNX_FUNCTIONS(TAKE)
#undef TAKE
  if (failed(env, api.createEnvironment(quietLog, "peft-lab", &environment))) return NULL;
  if (failed(env, api.createMemoryInfo("Cpu", deviceAllocator, 0, defaultMemory, &hostMemory))) return NULL;
  failed(env, api.getAllocator(&allocator));
  return NULL;
}

typedef struct {
  Session *session;
  /** Where outputs stay. */
  MemoryInfo *device;
} Opened;

static void closeSession(Opened *opened) {
  if (opened->session) api.releaseSession(opened->session);
  if (opened->device) api.releaseMemoryInfo(opened->device);
  *opened = (Opened){0};
}

static void finalizeSession(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  closeSession(data);
  free(data);
}

/** What JavaScript's externals name. */
typedef struct {
  Value *value;
  /** The array whose memory it is, kept as long; null where the memory is ONNX Runtime's. */
  napi_ref array;
} Held;

static void releaseHeld(napi_env env, Held *held) {
  if (held->value) api.releaseValue(held->value);
  if (held->array) napi_delete_reference(env, held->array);
  *held = (Held){0};
}

static void finalizeHeld(napi_env env, void *data, void *hint) {
  (void)hint;
  releaseHeld(env, data);
  free(data);
}

/** An external that names a value, which it owns; array: null, or where the value's memory is. */
static napi_value hold(napi_env env, Value *value, napi_value array) {
  napi_value result;
  Held *held = malloc(sizeof(Held));
  if (held) *held = (Held){.value = value};
  if (held && array) napi_create_reference(env, array, 1, &held->array);
  if (held && napi_create_external(env, held, finalizeHeld, NULL, &result) == napi_ok) return result;
  if (held) releaseHeld(env, held);
  else api.releaseValue(value);
  free(held);
  return fail(env, "out of memory");
}

static Value *valueOf(napi_env env, napi_value given) {
  Held *held = externalArgument(env, given);
  return held ? held->value : NULL;
}

/** onnxTensor(data, shape, type): a value in the memory of a typed array; shape is a BigInt64Array. */
static napi_value makeTensor(napi_env env, napi_callback_info info) {
  napi_value given[3];
  readArguments(env, info, given, 3);
  Bytes data = bytesOf(env, given[0]), shape = bytesOf(env, given[1]);
  Value *value = NULL;
  if (failed(env, api.createTensor(hostMemory, data.at, data.count, shape.at, shape.count / 8, (int)integerArgument(env, given[2]), &value))) return NULL;
  return hold(env, value, given[0]);
}

/** releaseOnnxTensor(tensor): gives its memory back at once. */
static napi_value releaseTensor(napi_env env, napi_callback_info info) {
  napi_value given[1];
  readArguments(env, info, given, 1);
  Held *held = externalArgument(env, given[0]);
  if (held) releaseHeld(env, held);
  return NULL;
}

/** onnxShape(tensor): numbers. */
static napi_value shapeOf(napi_env env, napi_callback_info info) {
  napi_value given[1], result, side;
  readArguments(env, info, given, 1);
  TypeAndShape *type = NULL;
  int64_t shape[16];
  size_t rank = 0;
  Value *value = valueOf(env, given[0]);
  if (!value) return fail(env, "a tensor that was released");
  int bad = failed(env, api.getTypeAndShape(value, &type)) || failed(env, api.getRank(type, &rank)) || (rank <= 16 && failed(env, api.getShape(type, shape, rank)));
  if (type) api.releaseTypeAndShape(type);
  if (bad || rank > 16) return bad ? NULL : fail(env, "a tensor of more than 16 axes");
  napi_create_array_with_length(env, rank, &result);
  for (uint32_t i = 0; i < rank; i++) {
    napi_create_int64(env, shape[i], &side);
    napi_set_element(env, result, i, side);
  }
  return result;
}

/** onnxData(tensor): a copy of f32 numbers that lie on the host. */
static napi_value dataOf(napi_env env, napi_callback_info info) {
  napi_value given[1], buffer, result;
  readArguments(env, info, given, 1);
  TypeAndShape *type = NULL;
  size_t count = 0;
  void *from = NULL, *to = NULL;
  Value *value = valueOf(env, given[0]);
  if (!value) return fail(env, "a tensor that was released");
  int bad = failed(env, api.getTypeAndShape(value, &type)) || failed(env, api.countElements(type, &count)) || failed(env, api.getData(value, &from));
  if (type) api.releaseTypeAndShape(type);
  if (bad) return NULL;
  if (napi_create_arraybuffer(env, count * 4, &to, &buffer) != napi_ok) return fail(env, "out of memory");
  memcpy(to, from, count * 4);
  napi_create_typedarray(env, napi_float32_array, count, buffer, 0, &result);
  return result;
}

/** Of a list of strings: one every second string, from `first` on, in memory of its own. */
static char **everySecond(napi_env env, napi_value list, uint32_t first, size_t *count) {
  uint32_t length = 0;
  napi_get_array_length(env, list, &length);
  char **strings = calloc(length / 2 + 1, sizeof(char *));
  *count = strings ? length / 2 : 0;
  for (uint32_t i = 0; i < *count; i++) strings[i] = newStringAt(env, list, 2 * i + first);
  return strings;
}

static void freeStrings(char **strings, size_t count) {
  for (size_t i = 0; strings && i < count; i++) free(strings[i]);
  free(strings);
}

static Status *addCuda(Options *options, char **keys, char **values, size_t count) {
  CudaOptions *cuda = NULL;
  Status *status = api.createCudaOptions(&cuda);
  if (!status) status = api.setCudaOptions(cuda, (const char *const *)keys, (const char *const *)values, count);
  if (!status) status = api.addCuda(options, cuda);
  if (cuda) api.releaseCudaOptions(cuda);
  return status;
}

/** The options of all sessions, and a list of keys and values; `cuda`: such a list for the provider, or null. */
static int setOptions(napi_env env, Options *options, napi_value settings, napi_value cuda) {
  size_t count = 0, cudaCount = 0;
  char **keys = everySecond(env, settings, 0, &count), **values = everySecond(env, settings, 1, &count);
  int bad = failed(env, api.disableMemoryPattern(options)) || failed(env, api.setLogLevel(options, quietLog)) || failed(env, api.setOptimization(options, basicOptimization)) || failed(env, api.setThreads(options, 1));
  for (size_t i = 0; !bad && i < count; i++) bad = failed(env, api.setOption(options, keys[i], values[i]));
  freeStrings(keys, count), freeStrings(values, count);
  if (bad || !isArray(env, cuda)) return !bad;
  keys = everySecond(env, cuda, 0, &cudaCount), values = everySecond(env, cuda, 1, &cudaCount);
  bad = failed(env, addCuda(options, keys, values, cudaCount));
  freeStrings(keys, cudaCount), freeStrings(values, cudaCount);
  return !bad;
}

/** openOnnxSession(model, settings, cuda): settings and cuda are lists of keys and values; cuda null: on the processor. */
static napi_value openSession(napi_env env, napi_callback_info info) {
  napi_value given[3], result;
  readArguments(env, info, given, 3);
  Bytes model = bytesOf(env, given[0]);
  Opened *opened = calloc(1, sizeof(Opened));
  Options *options = NULL;
  if (!opened) return fail(env, "out of memory");
  int good = !failed(env, api.createOptions(&options)) && setOptions(env, options, given[1], given[2])
    && !failed(env, api.createMemoryInfo(isArray(env, given[2]) ? "Cuda" : "Cpu", deviceAllocator, 0, defaultMemory, &opened->device))
    && !failed(env, api.createSession(environment, model.at, model.count, options, &opened->session));
  if (options) api.releaseOptions(options);
  if (good && napi_create_external(env, opened, finalizeSession, NULL, &result) == napi_ok) return result;
  closeSession(opened);
  free(opened);
  return NULL;
}

/** closeOnnxSession(session) */
static napi_value closeSessionCall(napi_env env, napi_callback_info info) {
  napi_value given[1];
  readArguments(env, info, given, 1);
  Opened *opened = externalArgument(env, given[0]);
  if (opened) closeSession(opened);
  return NULL;
}

/** onnxInputs(session): names. */
static napi_value inputsOf(napi_env env, napi_callback_info info) {
  napi_value given[1], result, name;
  readArguments(env, info, given, 1);
  Opened *opened = externalArgument(env, given[0]);
  size_t count = 0;
  if (!opened || !opened->session) return fail(env, "a session that was closed");
  if (failed(env, api.countInputs(opened->session, &count))) return NULL;
  napi_create_array_with_length(env, count, &result);
  for (uint32_t i = 0; i < count; i++) {
    char *said = NULL;
    if (failed(env, api.getInputName(opened->session, i, allocator, &said))) return NULL;
    napi_create_string_utf8(env, said, NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, result, i, name);
    if (failed(env, api.freeWith(allocator, said))) return NULL;
  }
  return result;
}

typedef struct {
  Opened *opened;
  uint32_t inputs, outputs;
  char **inputNames, **outputNames;
  Value **values;
  /** Whether an output stays on the device. */
  uint8_t *stays;
  /** What came of it. */
  Value **results;
  Status *status;
  /** Keeps session and values. */
  Work work;
} Call;

static Status *bindAll(Call *call, Binding *binding) {
  Status *status = NULL;
  for (uint32_t i = 0; !status && i < call->inputs; i++) status = api.bindInput(binding, call->inputNames[i], call->values[i]);
  for (uint32_t i = 0; !status && i < call->outputs; i++) status = api.bindOutput(binding, call->outputNames[i], call->stays[i] ? call->opened->device : hostMemory);
  return status ? status : api.awaitInputs(binding);
}

static void executeCall(napi_env env, void *data) {
  (void)env;
  Call *call = data;
  Binding *binding = NULL;
  size_t count = 0;
  call->status = api.createBinding(call->opened->session, &binding);
  if (!call->status) call->status = bindAll(call, binding);
  if (!call->status) call->status = api.runBound(call->opened->session, NULL, binding);
  if (!call->status) call->status = api.awaitOutputs(binding);
  if (!call->status) call->status = api.getOutputs(binding, allocator, &call->results, &count);
  if (binding) api.releaseBinding(binding);
}

static void freeCall(Call *call) {
  freeStrings(call->inputNames, call->inputs), freeStrings(call->outputNames, call->outputs);
  free(call->values), free(call->stays);
  free(call);
}

static napi_value resultsOf(napi_env env, Call *call) {
  napi_value result;
  napi_create_array_with_length(env, call->outputs, &result);
  for (uint32_t i = 0; i < call->outputs; i++) {
    napi_value value = hold(env, call->results[i], NULL);
    if (value) napi_set_element(env, result, i, value);
  }
  failed(env, api.freeWith(allocator, call->results));
  return result;
}

static void completeCall(napi_env env, napi_status status, void *data) {
  Call *call = data;
  napi_value words, error;
  if (status == napi_ok && !call->status) napi_resolve_deferred(env, call->work.promise, resultsOf(env, call));
  else {
    napi_create_string_utf8(env, call->status ? api.getErrorMessage(call->status) : "not run", NAPI_AUTO_LENGTH, &words);
    napi_create_error(env, NULL, words, &error);
    napi_reject_deferred(env, call->work.promise, error);
    if (call->status) api.releaseStatus(call->status);
  }
  endWork(env, &call->work);
  freeCall(call);
}

/** Names, values and which outputs stay, from JavaScript; 0 where something is not there. */
static int readCall(napi_env env, napi_value *given, Call *call) {
  napi_get_array_length(env, given[1], &call->inputs);
  napi_get_array_length(env, given[3], &call->outputs);
  call->inputNames = calloc(call->inputs + 1, sizeof(char *)), call->outputNames = calloc(call->outputs + 1, sizeof(char *));
  call->values = calloc(call->inputs + 1, sizeof(Value *)), call->stays = calloc(call->outputs + 1, 1);
  if (!call->inputNames || !call->outputNames || !call->values || !call->stays) return 0;
  for (uint32_t i = 0; i < call->inputs; i++) {
    napi_value value;
    napi_get_element(env, given[2], i, &value);
    call->inputNames[i] = newStringAt(env, given[1], i), call->values[i] = valueOf(env, value);
    if (!call->inputNames[i] || !call->values[i]) return 0;
  }
  for (uint32_t i = 0; i < call->outputs; i++) {
    napi_value stays;
    bool yes = false;
    napi_get_element(env, given[4], i, &stays);
    napi_get_value_bool(env, stays, &yes);
    call->outputNames[i] = newStringAt(env, given[3], i), call->stays[i] = yes;
    if (!call->outputNames[i]) return 0;
  }
  return 1;
}

/** runOnnxSession(session, names, tensors, outputs, stays): resolves to the outputs' tensors; those that do not stay are on the host. */
static napi_value runSession(napi_env env, napi_callback_info info) {
  napi_value given[5], kept;
  readArguments(env, info, given, 5);
  Call *call = calloc(1, sizeof(Call));
  if (!call) return fail(env, "out of memory");
  call->opened = externalArgument(env, given[0]);
  if (!call->opened || !call->opened->session || !readCall(env, given, call)) {
    freeCall(call);
    return fail(env, "a session or a tensor that was released");
  }
  napi_create_array_with_length(env, 2, &kept);
  napi_set_element(env, kept, 0, given[0]);
  napi_set_element(env, kept, 1, given[2]);
  return startWork(env, &call->work, kept, executeCall, completeCall, call);
}

void exportOnnxRuntime(napi_env env, napi_value exports) {
  setFunction(env, exports, "openOnnxRuntime", openRuntime);
  setFunction(env, exports, "onnxTensor", makeTensor);
  setFunction(env, exports, "releaseOnnxTensor", releaseTensor);
  setFunction(env, exports, "onnxShape", shapeOf);
  setFunction(env, exports, "onnxData", dataOf);
  setFunction(env, exports, "openOnnxSession", openSession);
  setFunction(env, exports, "closeOnnxSession", closeSessionCall);
  setFunction(env, exports, "onnxInputs", inputsOf);
  setFunction(env, exports, "runOnnxSession", runSession);
}
