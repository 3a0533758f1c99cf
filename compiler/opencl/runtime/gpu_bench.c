/* NAME-bench: runs a compiled network through OpenCL, times it layer by layer, checks it against stored outputs, and
 * finds the device's best work-group sizes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_common.h"
#include "engine.h"
#include "gpu_engine.h"
#include "gpu_error.h"
#include "gpu_options.h"
#include "gpu_report.h"
#include "gpu_tune.h"

static void require(int status)
{
    if (status != 0)
        bench_die(gpu_last_status(), "%s", gpu_last_error());
}

static uint64_t sum(const uint64_t* values, int count)
{
    uint64_t total = 0;
    for (int i = 0; i < count; ++i)
        total += values[i];
    return total;
}

/* A run that the device measures, layer by layer. */
static void profile_run(const float* input, float* output, Samples* samples, Transfers* transfers, size_t index)
{
    const int layers = mnv3c_network.layer_count;
    GpuTimes times = {.layers = samples->layers + index * (size_t)layers};
    require(gpu_run(input, output, &times));
    transfers->writes[index] = times.write_ns;
    transfers->reads[index] = times.read_ns;
    transfers->kernels[index] = sum(times.layers, layers);
}

/* The device does not measure in the runs that the totals are of. */
static void time_runs(const GpuOptions* options, const float* input, float* output, const Tuned* tuned)
{
    const size_t layers = (size_t)mnv3c_network.layer_count, runs = (size_t)options->bench.runs;
    Samples samples = {.runs = options->bench.runs, .totals = bench_allocate(runs, sizeof(uint64_t))};
    uint64_t* parts = bench_allocate(3 * runs, sizeof(uint64_t));
    Transfers transfers = {parts, parts + runs, parts + 2 * runs};
    if (options->bench.profile)
        samples.layers = bench_allocate(runs * layers, sizeof(uint64_t));
    for (int i = 0; i < options->bench.warmup; ++i)
        require(gpu_run(input, output, NULL));
    for (size_t i = 0; i < runs; ++i) {
        const uint64_t start = bench_now_ns();
        require(gpu_run(input, output, NULL));
        samples.totals[i] = bench_now_ns() - start;
        if (options->bench.profile)
            profile_run(input, output, &samples, &transfers, i);
    }
    gpu_report_times(options, samples, transfers, tuned);
    free(samples.totals);
    free(samples.layers);
    free(parts);
}

/* Returns memory for free(), NULL without --tune. */
static Tuned* tune(const GpuOptions* options, const float* input, float* output)
{
    if (options->tune == NULL)
        return NULL;
    for (int i = 0; i < mnv3c_gpu.kernel_count; ++i)
        if (mnv3c_gpu.kernels[i].movable) /* whatever the device takes, until a better one is known */
            gpu_work_groups()[i] = (WorkGroup){{0, 0, 0}};
    require(gpu_require_work_groups());
    require(gpu_run(input, output, NULL));
    Tuned* found = bench_allocate((size_t)mnv3c_gpu.kernel_count, sizeof(*found));
    require(gpu_tune(options->tries, found));
    require(gpu_tuning_write(options->tune, gpu_device(), gpu_work_groups()));
    return found;
}

static void start(const GpuOptions* options)
{
    if (options->device != NULL)
        setenv("MNV3C_OPENCL_DEVICE", options->device, 1);
    require(gpu_open());
    const char* tuning = options->tuning != NULL ? options->tuning : getenv("MNV3C_OPENCL_TUNING");
    if (options->tune != NULL)
        return;
    if (tuning != NULL && *tuning != '\0')
        require(gpu_take_tuning(tuning));
    require(gpu_require_work_groups());
}

int main(int count, char** arguments)
{
    const GpuOptions options = gpu_parse_options(count, arguments);
    float* input = bench_new_input(&options.bench);
    float* output = bench_new_output();
    start(&options);
    Tuned* tuned = tune(&options, input, output);
    if (options.bench.check || options.bench.runs == 0)
        require(gpu_run(input, output, NULL));
    else
        time_runs(&options, input, output, tuned);
    const int passed = options.bench.check ? bench_check(&options.bench, output) : 1;
    bench_write_output(&options.bench, output);

    mnv3c_engine_shutdown();
    if (fflush(stdout) != 0)
        bench_die(EXIT_FAILURE, "cannot write to stdout: %s", strerror(errno));
    free(tuned);
    free(input);
    free(output);
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
