/* NAME-bench: runs a compiled network, times it layer by layer, and checks it against stored outputs. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_options.h"
#include "bench_report.h"
#include "check.h"
#include "cpu_info.h"
#include "engine.h"

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void* allocate(size_t count, size_t size)
{
    void* memory = NULL;
    if (posix_memalign(&memory, MNV3C_ALIGNMENT_BYTES, count * size + 1) != 0)
        bench_die(EXIT_FAILURE, "out of memory");
    return memory;
}

static uint64_t output_elements(void)
{
    uint64_t elements = 0;
    for (int i = 0; i < mnv3c_network.output_count; ++i)
        elements += mnv3c_network.outputs[i].elements;
    return elements;
}

static void read_input(const char* path, float* values, uint64_t elements)
{
    FILE* file = fopen(path, "rb");
    if (file == NULL)
        bench_die(EXIT_USAGE, "cannot read %s: %s", path, strerror(errno));
    const size_t count = fread(values, sizeof(float), elements, file);
    const int longer = fgetc(file) != EOF;
    if (ferror(file))
        bench_die(EXIT_USAGE, "cannot read %s: %s", path, strerror(errno));
    if (count != elements || longer)
        bench_die(EXIT_USAGE, "%s must hold %llu float32 (%llu bytes) and is %s", path, (unsigned long long)elements,
                  (unsigned long long)elements * sizeof(float), longer ? "longer" : "shorter");
    fclose(file);
}

/* Writes to a temporary name first, so that the file is there whole or not at all. */
static void write_output(const char* path, const float* values, uint64_t elements)
{
    char* temporary = allocate(strlen(path) + sizeof(".tmp"), 1);
    sprintf(temporary, "%s.tmp", path);
    FILE* file = fopen(temporary, "wb");
    if (file == NULL)
        bench_die(EXIT_USAGE, "cannot write %s: %s", temporary, strerror(errno));
    int written = fwrite(values, sizeof(float), elements, file) == elements;
    written = fclose(file) == 0 && written;
    if (!written || rename(temporary, path) != 0) {
        const int reason = errno;
        remove(temporary);
        bench_die(EXIT_USAGE, "cannot write %s: %s", path, strerror(reason));
    }
    free(temporary);
}

static void run(const float* input, float* output, uint64_t* layer_ns)
{
    if (mnv3c_engine_run(input, output, layer_ns) != 0)
        bench_die(EXIT_FAILURE, "%s", mnv3c_engine_last_error());
}

static void time_runs(const Options* options, const float* input, float* output)
{
    const size_t layers = (size_t)mnv3c_network.layer_count, runs = (size_t)options->runs;
    Samples samples = {.runs = options->runs, .totals = allocate(runs, sizeof(uint64_t))};
    if (options->profile)
        samples.layers = allocate(runs * layers, sizeof(uint64_t));
    for (int i = 0; i < options->warmup; ++i)
        run(input, output, NULL);
    for (size_t i = 0; i < runs; ++i) {
        const uint64_t start = now_ns();
        run(input, output, options->profile ? samples.layers + i * layers : NULL);
        samples.totals[i] = now_ns() - start;
    }
    report_times(options, samples, options->cpu >= 0 ? options->cpu : cpu_current());
    free(samples.totals);
    free(samples.layers);
}

/* Returns whether every output is within the tolerance. */
static int check(const Options* options, const float* output)
{
    const int count = mnv3c_network.output_count;
    Deviation* deviations = allocate((size_t)count, sizeof(*deviations));
    double worst = 0;
    int passed = 1;
    const float* reference = mnv3c_reference;
    for (int i = 0; i < count; ++i) {
        const uint64_t elements = mnv3c_network.outputs[i].elements;
        deviations[i] = mnv3c_compare(output, reference, elements);
        const double error = deviations[i].relative_error;
        passed = passed && error <= mnv3c_check_tolerance; /* false for NaN */
        worst = isnan(worst) || worst > error ? worst : error;
        output += elements;
        reference += elements;
    }
    report_check(options, deviations, worst, passed);
    free(deviations);
    return passed;
}

int main(int count, char** arguments)
{
    const Options options = bench_parse_options(count, arguments);
    if (options.cpu >= 0 && cpu_pin(options.cpu, options.threads) != 0)
        bench_die(EXIT_USAGE, "cannot run on CPU %d: %s", options.cpu, strerror(errno));
    if (mnv3c_engine_set_threads(options.threads) != 0)
        bench_die(EXIT_FAILURE, "%s", mnv3c_engine_last_error());

    const uint64_t input_elements = mnv3c_network.input.elements;
    float* input = allocate(input_elements, sizeof(float));
    float* output = allocate(output_elements(), sizeof(float));
    if (options.input != NULL)
        read_input(options.input, input, input_elements);
    else
        mnv3c_check_input(input, input_elements, mnv3c_check_seed);

    int passed = 1;
    if (options.check || options.runs == 0)
        run(input, output, NULL);
    else
        time_runs(&options, input, output);
    if (options.check)
        passed = check(&options, output);
    if (options.output != NULL)
        write_output(options.output, output, output_elements());

    mnv3c_engine_shutdown();
    if (fflush(stdout) != 0)
        bench_die(EXIT_FAILURE, "cannot write to stdout: %s", strerror(errno));
    free(input);
    free(output);
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
