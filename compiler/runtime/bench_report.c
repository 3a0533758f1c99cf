#include "bench_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu_info.h"
#include "engine.h"

typedef struct {
    double median, p10, p90;
} Spread;

static int compare(const void* a, const void* b)
{
    const uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
    return (x > y) - (x < y);
}

/* The quantile of sorted numbers, interpolated linearly between neighbours as NumPy does. */
static double quantile(const uint64_t* sorted, int count, double fraction)
{
    const double position = fraction * (count - 1);
    const int below = (int)position;
    const int above = below + 1 < count ? below + 1 : below;
    return (double)sorted[below] + (position - below) * ((double)sorted[above] - (double)sorted[below]);
}

/* Sorts `samples`, nanoseconds, and divides what it finds by `unit_ns`. */
static Spread spread_of(uint64_t* samples, int count, double unit_ns)
{
    qsort(samples, (size_t)count, sizeof(*samples), compare);
    return (Spread){quantile(samples, count, 0.5) / unit_ns, quantile(samples, count, 0.1) / unit_ns,
                    quantile(samples, count, 0.9) / unit_ns};
}

/* `column` is scratch space for as many numbers as there are runs. */
static Spread layer_spread_us(Samples samples, int layer, uint64_t* column)
{
    for (int run = 0; run < samples.runs; ++run)
        column[run] = samples.layers[(size_t)run * (size_t)mnv3c_network.layer_count + (size_t)layer];
    return spread_of(column, samples.runs, 1e3);
}

static void print_json_string(const char* text)
{
    putchar('"');
    for (const unsigned char* c = (const unsigned char*)text; *c != '\0'; ++c) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c < ' ' || *c == 127)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

/* JSON has no NaN and no infinity. */
static void print_json_number(const char* name, double number)
{
    if (isfinite(number))
        printf("\"%s\": %.9g", name, number);
    else
        printf("\"%s\": null", name);
}

static void print_json_field(const char* name, const char* text)
{
    printf("\"%s\": ", name);
    print_json_string(text);
    printf(", ");
}

static void print_layers_json(Samples samples, uint64_t* column)
{
    for (int i = 0; samples.layers != NULL && i < mnv3c_network.layer_count; ++i) {
        const Layer* layer = &mnv3c_network.layers[i];
        const Spread us = layer_spread_us(samples, i, column);
        printf(i == 0 ? "{" : ", {");
        print_json_field("name", layer->name);
        print_json_field("kind", layer->kind);
        print_json_field("shape", layer->shape);
        printf("\"macs\": %lld, \"median_us\": %.3f, \"p10_us\": %.3f, \"p90_us\": %.3f}", (long long)layer->macs,
               us.median, us.p10, us.p90);
    }
}

static void print_times_json(const Options* options, Samples samples, CpuInfo cpu, uint64_t* column)
{
    const Spread ms = spread_of(samples.totals, samples.runs, 1e6);
    printf("{");
    print_json_field("name", mnv3c_network.name);
    printf("\"threads\": %d, ", options->threads);
    if (options->cpu >= 0)
        printf("\"cpu\": %d, ", options->cpu);
    else
        printf("\"cpu\": null, ");
    print_json_field("cpu_model", cpu.model);
    if (cpu.frequency_hz > 0)
        printf("\"frequency_hz\": %.0f, ", cpu.frequency_hz);
    else
        printf("\"frequency_hz\": null, ");
    printf("\"runs\": %d, \"median_ms\": %.6f, \"p10_ms\": %.6f, \"p90_ms\": %.6f, \"layers\": [", samples.runs,
           ms.median, ms.p10, ms.p90);
    print_layers_json(samples, column);
    printf("]}\n");
}

static void print_times_text(const Options* options, Samples samples, CpuInfo cpu, uint64_t* column)
{
    const Spread ms = spread_of(samples.totals, samples.runs, 1e6);
    printf("%s, %d thread%s, %s", mnv3c_network.name, options->threads, options->threads == 1 ? "" : "s", cpu.model);
    if (cpu.frequency_hz > 0)
        printf(" at %.2f GHz", cpu.frequency_hz / 1e9);
    printf("\nmedian %.3f ms, p10 %.3f ms, p90 %.3f ms over %d runs\n", ms.median, ms.p10, ms.p90, samples.runs);
    if (samples.layers == NULL)
        return;
    printf("\n%10s %10s %10s %9s  %-14s %-32s %s\n", "median us", "p10 us", "p90 us", "GMAC/s", "kind", "shape", "layer");
    for (int i = 0; i < mnv3c_network.layer_count; ++i) {
        const Layer* layer = &mnv3c_network.layers[i];
        const Spread us = layer_spread_us(samples, i, column);
        const double gmacs_per_s = us.median > 0 ? (double)layer->macs / us.median / 1e3 : 0;
        printf("%10.2f %10.2f %10.2f %9.2f  %-14s %-32s %s\n", us.median, us.p10, us.p90, gmacs_per_s, layer->kind,
               layer->shape, layer->name);
    }
}

void report_times(const Options* options, Samples samples, int cpu)
{
    uint64_t* column = calloc((size_t)samples.runs, sizeof(*column));
    if (column == NULL)
        bench_die(EXIT_FAILURE, "out of memory");
    (options->json ? print_times_json : print_times_text)(options, samples, cpu_info(cpu), column);
    free(column);
}

static void print_check_json(const Deviation* deviations, double worst, int passed)
{
    printf("{");
    print_json_field("name", mnv3c_network.name);
    printf("\"outputs\": [");
    for (int i = 0; i < mnv3c_network.output_count; ++i) {
        printf(i == 0 ? "{" : ", {");
        print_json_field("name", mnv3c_network.outputs[i].name);
        print_json_number("max_abs_error", deviations[i].max_abs_error);
        printf(", ");
        print_json_number("max_abs_reference", deviations[i].max_abs_reference);
        printf(", ");
        print_json_number("relative_error", deviations[i].relative_error);
        printf("}");
    }
    printf("], ");
    print_json_number("relative_error", worst);
    printf(", \"tolerance\": %.9g, \"passed\": %s}\n", mnv3c_check_tolerance, passed ? "true" : "false");
}

void report_check(const Options* options, const Deviation* deviations, double worst, int passed)
{
    if (options->json) {
        print_check_json(deviations, worst, passed);
        return;
    }
    for (int i = 0; i < mnv3c_network.output_count; ++i)
        printf("%s: max_abs_error %.3g / max_abs_reference %.3g = %.3g\n", mnv3c_network.outputs[i].name,
               deviations[i].max_abs_error, deviations[i].max_abs_reference, deviations[i].relative_error);
    printf("%s: relative error %.3g, tolerance %.3g\n", passed ? "passed" : "FAILED", worst, mnv3c_check_tolerance);
}
