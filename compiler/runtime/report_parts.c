#include "report_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_common.h"
#include "engine.h"

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

Spread report_spread(uint64_t* samples, int count, double unit_ns)
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
    return report_spread(column, samples.runs, 1e3);
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

void report_json_number(const char* name, double number)
{
    if (isfinite(number))
        printf("\"%s\": %.9g", name, number);
    else
        printf("\"%s\": null", name);
}

void report_json_text(const char* name, const char* text)
{
    printf("\"%s\": ", name);
    print_json_string(text);
    printf(", ");
}

void report_samples_json(Samples samples, void (*more)(int layer))
{
    const Spread ms = report_spread(samples.totals, samples.runs, 1e6);
    printf("\"runs\": %d, \"median_ms\": %.6f, \"p10_ms\": %.6f, \"p90_ms\": %.6f, \"layers\": [", samples.runs,
           ms.median, ms.p10, ms.p90);
    uint64_t* column = bench_allocate((size_t)samples.runs, sizeof(*column));
    for (int i = 0; samples.layers != NULL && i < mnv3c_network.layer_count; ++i) {
        const Layer* layer = &mnv3c_network.layers[i];
        const Spread us = layer_spread_us(samples, i, column);
        printf(i == 0 ? "{" : ", {");
        report_json_text("name", layer->name);
        report_json_text("kind", layer->kind);
        report_json_text("shape", layer->shape);
        printf("\"macs\": %lld, \"median_us\": %.3f, \"p10_us\": %.3f, \"p90_us\": %.3f", (long long)layer->macs,
               us.median, us.p10, us.p90);
        if (more != NULL)
            more(i);
        printf("}");
    }
    free(column);
    printf("]}\n");
}

static void print_layer(const Layer* layer, Spread us)
{
    const double gmacs_per_s = us.median > 0 ? (double)layer->macs / us.median / 1e3 : 0;
    printf("%10.2f %10.2f %10.2f %9.2f  %-14s %-32s %s", us.median, us.p10, us.p90, gmacs_per_s, layer->kind,
           layer->shape, layer->name);
}

void report_samples_text(Samples samples, void (*more)(int layer))
{
    const Spread ms = report_spread(samples.totals, samples.runs, 1e6);
    printf("median %.3f ms, p10 %.3f ms, p90 %.3f ms over %d runs\n", ms.median, ms.p10, ms.p90, samples.runs);
    if (samples.layers == NULL)
        return;
    printf("\n%10s %10s %10s %9s  %-14s %-32s %s\n", "median us", "p10 us", "p90 us", "GMAC/s", "kind", "shape", "layer");
    uint64_t* column = bench_allocate((size_t)samples.runs, sizeof(*column));
    for (int i = 0; i < mnv3c_network.layer_count; ++i) {
        print_layer(&mnv3c_network.layers[i], layer_spread_us(samples, i, column));
        if (more != NULL)
            more(i);
        printf("\n");
    }
    free(column);
}
