#include "gpu_options.h"

#include "bench_common.h"

static const Option known[] = {
    BENCH_COMMON_OPTIONS,
    {"--device", offsetof(GpuOptions, device), OPTION_TEXT, 0, 0,
     "TEXT  use the device whose \"platform: name\" holds this (default: the first GPU, or else the first device)"},
    {"--tune", offsetof(GpuOptions, tune), OPTION_TEXT, 0, 0,
     "FILE  try work-group sizes on the device, use the best and keep them there"},
    {"--tries", offsetof(GpuOptions, tries), OPTION_NUMBER, 1, 1000,
     "N  how many work-groups of each kernel --tune tries, those most like the compiler's first (default 24)"},
    {"--tuning", offsetof(GpuOptions, tuning), OPTION_TEXT, 0, 0, "FILE  use the work-group sizes that --tune kept"},
};

static const OptionTable table = {
    known, sizeof(known) / sizeof(known[0]),
    "Environment: MNV3C_OPENCL, the library to open instead of the system's libOpenCL.so; MNV3C_OPENCL_DEVICE as\n"
    "--device; MNV3C_OPENCL_TUNING as --tuning; MNV3C_OPENCL_CACHE, the folder that keeps compiled kernels (empty:\n"
    "none).\n"
    "Exit status: 0 done, 1 the check or a run failed, 2 wrong usage or file, or a kernel that the device's limits\n"
    "exclude, 3 no OpenCL, no device or not enough memory."};

GpuOptions gpu_parse_options(int count, char** arguments)
{
    GpuOptions options = {.bench = BENCH_DEFAULTS, .tries = 24};
    option_table_parse(&table, count, arguments, &options);
    bench_reject_contradictions(&options.bench);
    if (options.tune != NULL && options.tuning != NULL)
        bench_die(EXIT_USAGE, "--tune makes what --tuning reads: leave one out");
    return options;
}
