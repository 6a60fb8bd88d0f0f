/*
 * Hides AVX-512 and AMX from a process, so that libraries that choose their kernels by CPUID take those for AVX2.
 *   cc -O2 -shared -fPIC -o without-avx512.so without-avx512.c -ldl;  LD_PRELOAD=./without-avx512.so program
 * The processor is asked to fault on CPUID (arch_prctl(ARCH_CPUID), Linux on Intel; threads inherit it), and the fault's handler
 * answers with the bits cleared. Bits: Intel SDM volume 2A, CPUID. libc itself has asked before this library is there.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (UINT32_C(1) << (n))
enum { ARCH_CPUID = 0x1012 };

typedef int set_action(int, const struct sigaction *, struct sigaction *);

/* What the program wants done with other segmentation faults. */
static struct sigaction of_program;

static set_action *real_sigaction(void) {
  static set_action *found;
  if (!found) found = (set_action *)dlsym(RTLD_NEXT, "sigaction");
  return found;
}

static int allow_cpuid(unsigned long allowed) {
  return (int)syscall(SYS_arch_prctl, ARCH_CPUID, allowed);
}

static int is_cpuid(const uint8_t *code) {
  return code[0] == 0x0f && code[1] == 0xa2;
}

static void answer(greg_t *registers) {
  const uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX];
  uint32_t a, b, c, d;
  allow_cpuid(1);
  __cpuid_count(leaf, part, a, b, c, d);
  allow_cpuid(0);
  if (leaf == 7 && part == 0) {
    b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31)); /* F DQ IFMA PF ER CD BW VL */
    c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));                                 /* VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
    d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));              /* 4VNNIW 4FMAPS VP2INTERSECT AMX-BF16 FP16 AMX-TILE AMX-INT8 */
  }
  if (leaf == 7 && part == 1) {
    a &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23)); /* AVX-VNNI AVX512-BF16 AMX-FP16 AVX-IFMA */
    d &= ~(BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19)); /* AVX-VNNI-INT8 AVX-NE-CONVERT AMX-COMPLEX AVX-VNNI-INT16 AVX10 */
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

static void on_fault(int signal, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  if (info->si_code == SI_KERNEL && is_cpuid((const uint8_t *)registers[REG_RIP])) answer(registers);
  else if (of_program.sa_flags & SA_SIGINFO) of_program.sa_sigaction(signal, info, context);
  else real_sigaction()(SIGSEGV, &of_program, NULL); /* the instruction faults again, as without this library */
}

/* Node.js sets every signal back when it starts, and WebAssembly has a handler of its own: ours stays before it. */
int sigaction(int signal, const struct sigaction *action, struct sigaction *before) {
  if (signal != SIGSEGV) return real_sigaction()(signal, action, before);
  if (before) *before = of_program;
  if (action) of_program = *action;
  return 0;
}

__attribute__((constructor)) static void start(void) {
  struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };
  if (real_sigaction()(SIGSEGV, &ours, NULL) || allow_cpuid(0)) {
    perror("AVX-512 cannot be hidden here");
    exit(3);
  }
}
