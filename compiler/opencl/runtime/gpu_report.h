/* What NAME-bench prints of a network that runs through OpenCL. */
#ifndef MNV3C_GPU_REPORT_H
#define MNV3C_GPU_REPORT_H

#include "bench_report.h"
#include "gpu_options.h"
#include "gpu_tune.h"

/* Nanoseconds of each run by the device's clock; with --profile only. */
typedef struct {
    uint64_t* writes;
    uint64_t* kernels; /* the sum over layers */
    uint64_t* reads;
} Transfers;

/* `samples.totals` are ends to ends by the host's clock. `tuned` is NULL without --tune. Sorts the samples. */
void gpu_report_times(const GpuOptions* options, Samples samples, Transfers transfers, const Tuned* tuned);

#endif
