#include "gpu_report.h"

#include <stdio.h>

#include "engine.h"
#include "gpu_engine.h"
#include "report_parts.h"

/* Medians in milliseconds; what is neither transfer nor kernel is launching, waiting and gaps between kernels. */
typedef struct {
    double write, kernels, read, overhead;
} Parts;

static Parts parts_of(Samples samples, Transfers transfers)
{
    const double total = report_spread(samples.totals, samples.runs, 1e6).median;
    Parts parts = {report_spread(transfers.writes, samples.runs, 1e6).median,
                   report_spread(transfers.kernels, samples.runs, 1e6).median,
                   report_spread(transfers.reads, samples.runs, 1e6).median, 0};
    parts.overhead = total - parts.write - parts.kernels - parts.read;
    return parts;
}

static const GpuKernel* kernel_of(int layer)
{
    return &mnv3c_gpu.kernels[mnv3c_gpu.calls[layer].kernel];
}

static void more_json(int layer)
{
    const size_t* size = gpu_work_groups()[mnv3c_gpu.calls[layer].kernel].size;
    printf(", \"bytes\": %lld, \"kernel\": \"%s\", \"work_group\": [%zu, %zu, %zu]",
           (long long)mnv3c_gpu.calls[layer].bytes, kernel_of(layer)->name, size[0], size[1], size[2]);
}

static void more_text(int layer)
{
    const size_t* size = gpu_work_groups()[mnv3c_gpu.calls[layer].kernel].size;
    printf("  %s by %zu x %zu x %zu", kernel_of(layer)->name, size[0], size[1], size[2]);
}

static void print_tuned_json(const Tuned* tuned)
{
    printf("\"tuned\": [");
    for (int i = 0; i < mnv3c_gpu.kernel_count; ++i) {
        const size_t* size = gpu_work_groups()[i].size;
        printf("%s{\"kernel\": \"%s\", \"tried\": %d, \"work_group\": [%zu, %zu, %zu], \"compiler_us\": %.3f, "
               "\"best_us\": %.3f}",
               i == 0 ? "" : ", ", mnv3c_gpu.kernels[i].name, tuned[i].tried, size[0], size[1], size[2],
               (double)tuned[i].compiler_ns / 1e3, (double)tuned[i].best_ns / 1e3);
    }
    printf("], ");
}

static void print_tuned_text(const Tuned* tuned)
{
    int changed = 0, tried = 0;
    for (int i = 0; i < mnv3c_gpu.kernel_count; ++i) {
        tried += tuned[i].tried;
        changed += tuned[i].best_ns != tuned[i].compiler_ns;
    }
    printf("tuned: %d work-groups tried for %d kernels, another than the compiler's is faster for %d\n", tried,
           mnv3c_gpu.kernel_count, changed);
}

static void print_json(Samples samples, const Parts* parts, const Tuned* tuned)
{
    const GpuDevice* device = gpu_device();
    printf("{");
    report_json_text("name", mnv3c_network.name);
    report_json_text("storage", mnv3c_gpu.storage);
    report_json_text("platform", device->platform);
    report_json_text("device", device->name);
    report_json_text("driver", device->driver);
    printf("\"cached\": %s, \"build_ms\": %.3f, ", gpu_start().cached ? "true" : "false",
           (double)gpu_start().build_ns / 1e6);
    if (tuned != NULL)
        print_tuned_json(tuned);
    if (parts != NULL)
        printf("\"write_ms\": %.6f, \"kernel_ms\": %.6f, \"read_ms\": %.6f, \"overhead_ms\": %.6f, ", parts->write,
               parts->kernels, parts->read, parts->overhead);
    report_samples_json(samples, more_json);
}

static void print_text(Samples samples, const Parts* parts, const Tuned* tuned)
{
    const GpuDevice* device = gpu_device();
    printf("%s, %s, %s: %s, kernels %s in %.1f ms\n", mnv3c_network.name, mnv3c_gpu.storage, device->platform,
           device->name, gpu_start().cached ? "read from the cache" : "compiled", (double)gpu_start().build_ns / 1e6);
    if (tuned != NULL)
        print_tuned_text(tuned);
    if (parts != NULL)
        printf("input written %.3f ms, kernels %.3f ms, outputs read %.3f ms, launches and gaps %.3f ms\n", parts->write,
               parts->kernels, parts->read, parts->overhead);
    report_samples_text(samples, more_text);
}

void gpu_report_times(const GpuOptions* options, Samples samples, Transfers transfers, const Tuned* tuned)
{
    Parts parts;
    if (options->bench.profile)
        parts = parts_of(samples, transfers);
    (options->bench.json ? print_json : print_text)(samples, options->bench.profile ? &parts : NULL, tuned);
}
