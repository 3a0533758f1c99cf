/* What every bench does, whatever its kernels run on: buffers, files, the check. */
#ifndef MNV3C_BENCH_COMMON_H
#define MNV3C_BENCH_COMMON_H

#include <stddef.h>
#include <stdint.h>

#include "bench_options.h"

enum { EXIT_USAGE = 2 };

/* Prints "NAME-bench: " and the message as one line on stderr and ends the program. */
_Noreturn void bench_die(int status, const char* format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the program with EXIT_USAGE where options that every bench takes exclude each other. */
void bench_reject_contradictions(const Options* options);

uint64_t bench_now_ns(void);

/* Aligned memory for free(); ends the program where there is none. */
void* bench_allocate(size_t count, size_t size);

/* Memory for free(), with --input's file or the built-in numbers in it. */
float* bench_new_input(const Options* options);

/* Memory for free() for all outputs. */
float* bench_new_output(void);

/* Writes the outputs to --output, if asked to. */
void bench_write_output(const Options* options, const float* output);

/* Reports how far the outputs are from the stored ones. Returns whether each is within the tolerance. */
int bench_check(const Options* options, const float* output);

#endif
