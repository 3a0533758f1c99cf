/* NAME-bench: runs a compiled network, times it layer by layer, and checks it against stored outputs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_common.h"
#include "bench_options.h"
#include "bench_report.h"
#include "cpu_info.h"
#include "engine.h"

static void run(const float* input, float* output, uint64_t* layer_ns)
{
    if (mnv3c_engine_run(input, output, layer_ns) != 0)
        bench_die(EXIT_FAILURE, "%s", mnv3c_engine_last_error());
}

static void time_runs(const Options* options, const float* input, float* output)
{
    const size_t layers = (size_t)mnv3c_network.layer_count, runs = (size_t)options->runs;
    Samples samples = {.runs = options->runs, .totals = bench_allocate(runs, sizeof(uint64_t))};
    if (options->profile)
        samples.layers = bench_allocate(runs * layers, sizeof(uint64_t));
    for (int i = 0; i < options->warmup; ++i)
        run(input, output, NULL);
    for (size_t i = 0; i < runs; ++i) {
        const uint64_t start = bench_now_ns();
        run(input, output, options->profile ? samples.layers + i * layers : NULL);
        samples.totals[i] = bench_now_ns() - start;
    }
    report_times(options, samples, options->cpu >= 0 ? options->cpu : cpu_current());
    free(samples.totals);
    free(samples.layers);
}

int main(int count, char** arguments)
{
    const Options options = bench_parse_options(count, arguments);
    if (options.cpu >= 0 && cpu_pin(options.cpu, options.threads) != 0)
        bench_die(EXIT_USAGE, "cannot run on CPU %d: %s", options.cpu, strerror(errno));
    if (mnv3c_engine_set_threads(options.threads) != 0)
        bench_die(EXIT_FAILURE, "%s", mnv3c_engine_last_error());

    float* input = bench_new_input(&options);
    float* output = bench_new_output();
    if (options.check || options.runs == 0)
        run(input, output, NULL);
    else
        time_runs(&options, input, output);
    const int passed = options.check ? bench_check(&options, output) : 1;
    bench_write_output(&options, output);

    mnv3c_engine_shutdown();
    if (fflush(stdout) != 0)
        bench_die(EXIT_FAILURE, "cannot write to stdout: %s", strerror(errno));
    free(input);
    free(output);
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
