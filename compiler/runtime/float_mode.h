/* Subnormal numbers (below 1e-38) count as zero while a network runs: they mean nothing to it, and processors take a
 * hundred times longer for them. PP-OCR's detector on an empty page is full of them. The mode belongs to a thread, and
 * the caller gets back the one it had.
 */
#ifndef MNV3C_FLOAT_MODE_H
#define MNV3C_FLOAT_MODE_H

#include <stdint.h>

static inline uint64_t mnv3c_float_mode(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
#else
    return 0; /* RISC-V has no such mode, and no such penalty by its specification */
#endif
}

static inline void mnv3c_set_float_mode(uint64_t mode)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

static inline uint64_t mnv3c_flushing(uint64_t mode)
{
#if defined(__x86_64__)
    return mode | 0x8040; /* flush to zero, denormals are zero */
#elif defined(__aarch64__)
    return mode | (UINT64_C(1) << 24); /* FZ */
#else
    return mode;
#endif
}

#endif
