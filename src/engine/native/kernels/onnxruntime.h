// The functions of ONNX Runtime's C interface that are called here. It is a table to which every version adds at the end:
// a function is known by its place (include/onnxruntime/core/session/onnxruntime_c_api.h, struct OrtApi).
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct Status Status; // null: all went well
typedef struct Environment Environment;
typedef struct Options Options;
typedef struct CudaOptions CudaOptions;
typedef struct Session Session;
typedef struct Binding Binding;
typedef struct Value Value;
typedef struct MemoryInfo MemoryInfo;
typedef struct Allocator Allocator;
typedef struct TypeAndShape TypeAndShape;

/** The version whose table is asked for: ONNX Runtime 1.17, which has all of these. */
enum { apiVersion = 17 };

typedef struct {
  void *const *(*getApi)(uint32_t version);
  const char *(*getVersion)(void);
} ApiBase;

#define ONNX_FUNCTIONS(X) \
  X(2, const char *, getErrorMessage, (const Status *)) \
  X(3, Status *, createEnvironment, (int logLevel, const char *name, Environment **)) \
  X(8, Status *, createSession, (const Environment *, const void *model, size_t bytes, const Options *, Session **)) \
  X(10, Status *, createOptions, (Options **)) \
  X(17, Status *, disableMemoryPattern, (Options *)) \
  X(22, Status *, setLogLevel, (Options *, int level)) \
  X(23, Status *, setOptimization, (Options *, int level)) \
  X(24, Status *, setThreads, (Options *, int threads)) \
  X(30, Status *, countInputs, (const Session *, size_t *)) \
  X(36, Status *, getInputName, (const Session *, size_t index, Allocator *, char **)) \
  X(49, Status *, createTensor, (const MemoryInfo *, void *data, size_t bytes, const int64_t *shape, size_t rank, int type, Value **)) \
  X(51, Status *, getData, (Value *, void **)) \
  X(61, Status *, getRank, (const TypeAndShape *, size_t *)) \
  X(62, Status *, getShape, (const TypeAndShape *, int64_t *, size_t rank)) \
  X(64, Status *, countElements, (const TypeAndShape *, size_t *)) \
  X(65, Status *, getTypeAndShape, (const Value *, TypeAndShape **)) \
  X(68, Status *, createMemoryInfo, (const char *name, int allocator, int device, int memory, MemoryInfo **)) \
  X(76, Status *, freeWith, (Allocator *, void *)) \
  X(78, Status *, getAllocator, (Allocator **)) \
  X(93, void, releaseStatus, (Status *)) \
  X(94, void, releaseMemoryInfo, (MemoryInfo *)) \
  X(95, void, releaseSession, (Session *)) \
  X(96, void, releaseValue, (Value *)) \
  X(99, void, releaseTypeAndShape, (TypeAndShape *)) \
  X(100, void, releaseOptions, (Options *)) \
  X(130, Status *, setOption, (Options *, const char *key, const char *value)) \
  X(133, Status *, runBound, (Session *, const void *runOptions, const Binding *)) \
  X(134, Status *, createBinding, (Session *, Binding **)) \
  X(135, void, releaseBinding, (Binding *)) \
  X(136, Status *, bindInput, (Binding *, const char *name, const Value *)) \
  X(138, Status *, bindOutput, (Binding *, const char *name, const MemoryInfo *)) \
  X(140, Status *, getOutputs, (const Binding *, Allocator *, Value ***, size_t *count)) \
  X(202, Status *, awaitInputs, (Binding *)) \
  X(203, Status *, awaitOutputs, (Binding *)) \
  X(204, Status *, addCuda, (Options *, const CudaOptions *)) \
  X(205, Status *, createCudaOptions, (CudaOptions **)) \
  X(206, Status *, setCudaOptions, (CudaOptions *, const char *const *keys, const char *const *values, size_t count)) \
  X(208, void, releaseCudaOptions, (CudaOptions *))

enum { deviceAllocator = 0, defaultMemory = 0, basicOptimization = 1, quietLog = 4, float32Type = 1 };
