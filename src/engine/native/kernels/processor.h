// Which of the compiled instruction sets this processor, and the operating system, can run: the widest one.
#pragma once
#include "kernels.h"

typedef struct {
  const char *name;
  RunInstructions run;
} InstructionSet;

#if defined(__x86_64__)
#include <cpuid.h>

/** Which registers the operating system saves: bit 1 SSE, 2 AVX, 5 to 7 AVX-512. */
static unsigned savedRegisters(void) {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static InstructionSet bestSet(void) {
  unsigned a, b, c, d, leaf;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return (InstructionSet){"", 0};
  int hasAvx = (c >> 28 & 1) && (c >> 27 & 1), hasFma = c >> 12 & 1;
  if (!hasAvx || !hasFma || !__get_cpuid_count(7, 0, &a, &leaf, &c, &d)) return (InstructionSet){"", 0};
  unsigned saved = savedRegisters();
#ifdef HAS_AVX512
  unsigned wanted = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; // F, DQ, BW, VL
  if ((leaf & wanted) == wanted && (saved & 0xe6) == 0xe6) return (InstructionSet){"avx512", run_avx512};
#endif
#ifdef HAS_AVX2
  if ((leaf >> 5 & 1) && (saved & 6) == 6) return (InstructionSet){"avx2", run_avx2};
#endif
  return (InstructionSet){"", 0};
}
#elif defined(HAS_NEON)
static InstructionSet bestSet(void) { return (InstructionSet){"neon", run_neon}; }
#else
static InstructionSet bestSet(void) { return (InstructionSet){"", 0}; }
#endif

static inline const char *instructionSet(void) { return bestSet().name; }
static inline RunInstructions runInstructions(void) { return bestSet().run; }
