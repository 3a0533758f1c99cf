#include "bench_common.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_report.h"
#include "check.h"
#include "engine.h"

_Noreturn void bench_die(int status, const char* format, ...)
{
    va_list values;
    va_start(values, format);
    fprintf(stderr, "%s-bench: ", mnv3c_network.name);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(status);
}

void bench_reject_contradictions(const Options* options)
{
    if (options->check && options->input != NULL)
        bench_die(EXIT_USAGE, "--check compares the built-in input's outputs: leave --input out");
    if (options->check && options->profile)
        bench_die(EXIT_USAGE, "--check times nothing: leave --profile out");
    if (options->profile && options->runs == 0)
        bench_die(EXIT_USAGE, "--profile needs --runs 1 or more");
}

uint64_t bench_now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void* bench_allocate(size_t count, size_t size)
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
static void write_file(const char* path, const float* values, uint64_t elements)
{
    char* temporary = bench_allocate(strlen(path) + sizeof(".tmp"), 1);
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

float* bench_new_input(const Options* options)
{
    const uint64_t elements = mnv3c_network.input.elements;
    float* input = bench_allocate(elements, sizeof(float));
    if (options->input != NULL)
        read_input(options->input, input, elements);
    else
        mnv3c_check_input(input, elements, mnv3c_check_seed);
    return input;
}

float* bench_new_output(void)
{
    return bench_allocate(output_elements(), sizeof(float));
}

void bench_write_output(const Options* options, const float* output)
{
    if (options->output != NULL)
        write_file(options->output, output, output_elements());
}

int bench_check(const Options* options, const float* output)
{
    const int count = mnv3c_network.output_count;
    Deviation* deviations = bench_allocate((size_t)count, sizeof(*deviations));
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
