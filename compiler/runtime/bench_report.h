/* What NAME-bench prints. */
#ifndef MNV3C_BENCH_REPORT_H
#define MNV3C_BENCH_REPORT_H

#include <stdint.h>

#include "bench_options.h"
#include "check.h"

/* Nanoseconds: totals[run], and with --profile layers[run * layer_count + layer]. */
typedef struct {
    int runs;
    uint64_t* totals;
    uint64_t* layers;
} Samples;

/* `cpu` is where the runs took place, pinned or not. Sorts the samples. */
void report_times(const Options* options, Samples samples, int cpu);

/* `deviations` has one entry for each output. */
void report_check(const Options* options, const Deviation* deviations, double worst, int passed);

#endif
