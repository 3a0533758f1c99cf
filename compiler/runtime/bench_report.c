#include "bench_report.h"

#include <stdio.h>

#include "cpu_info.h"
#include "engine.h"
#include "report_parts.h"

static void print_times_json(const Options* options, Samples samples, CpuInfo cpu)
{
    printf("{");
    report_json_text("name", mnv3c_network.name);
    printf("\"threads\": %d, ", options->threads);
    if (options->cpu >= 0)
        printf("\"cpu\": %d, ", options->cpu);
    else
        printf("\"cpu\": null, ");
    report_json_text("cpu_model", cpu.model);
    if (cpu.frequency_hz > 0)
        printf("\"frequency_hz\": %.0f, ", cpu.frequency_hz);
    else
        printf("\"frequency_hz\": null, ");
    report_samples_json(samples, NULL);
}

static void print_times_text(const Options* options, Samples samples, CpuInfo cpu)
{
    printf("%s, %d thread%s, %s", mnv3c_network.name, options->threads, options->threads == 1 ? "" : "s", cpu.model);
    if (cpu.frequency_hz > 0)
        printf(" at %.2f GHz", cpu.frequency_hz / 1e9);
    printf("\n");
    report_samples_text(samples, NULL);
}

void report_times(const Options* options, Samples samples, int cpu)
{
    (options->json ? print_times_json : print_times_text)(options, samples, cpu_info(cpu));
}
