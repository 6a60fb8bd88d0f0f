// Memory straight from the system, in large pages where it has them: 64-byte aligned, zero, given back when freed.
#pragma once
#include <stdint.h>

#ifdef _WIN32
#include <windows.h>
static inline void *allocatePages(int64_t bytes) { return VirtualAlloc(NULL, (SIZE_T)bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE); }
static inline void freePages(void *memory, int64_t bytes) { (void)bytes; if (memory) VirtualFree(memory, 0, MEM_RELEASE); }
#else
#include <sys/mman.h>
static inline void *allocatePages(int64_t bytes) {
  void *memory = mmap(0, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
#ifdef MADV_HUGEPAGE
  madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
#endif
  return memory;
}
static inline void freePages(void *memory, int64_t bytes) { if (memory) munmap(memory, (size_t)bytes); }
#endif
