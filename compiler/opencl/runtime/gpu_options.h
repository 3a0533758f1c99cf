/* The command line of NAME-bench where the network runs through OpenCL. */
#ifndef MNV3C_GPU_OPTIONS_H
#define MNV3C_GPU_OPTIONS_H

#include "bench_options.h"

typedef struct {
    Options bench; /* first: BENCH_COMMON_OPTIONS fills it */
    const char* device;
    const char* tune;
    int tries;
    const char* tuning;
} GpuOptions;

/* Parses as option_table_parse does. */
GpuOptions gpu_parse_options(int count, char** arguments);

#endif
