/* net: 5 layers, 400 MACs, 2304 bytes of weights.
 *
 * Written by mnv3c; do not edit. engine.h and gpu_network.h explain the tables.
 */
#include "net.h"

#include "engine.h"
#include "gpu_network.h"

/* Name, work items, work-group, whether another would do, place in the source. */
static const GpuKernel kernels[] = {
    {"scale", {40, 1, 1}, {8, 1, 1}, 1, 125, 485},
    {"add", {8, 5, 1}, {4, 5, 1}, 1, 610, 532},
    {"matmul", {2, 1, 1}, {2, 1, 1}, 1, 1142, 528},
    {"total", {40, 1, 1}, {40, 1, 1}, 0, 1670, 469},
};

/* The parts of the device's memory that kernels touch: region, byte offset, bytes. */
static const GpuView views[] = {
    {GPU_INPUT, 0, 160},
    {GPU_WEIGHTS, 0, 160},
    {GPU_ARENA, 0, 160},
    {GPU_ARENA, 1024, 160},
    {GPU_ARENA, 2048, 160},
    {GPU_WEIGHTS, 1024, 1280},
    {GPU_OUTPUT, 0, 32},
    {GPU_OUTPUT, 1024, 12},
};

/* Name, kind, shape, MACs; there are no kernels of TVM here. */
static const Layer layers[] = {
    {"stem", "scale", "5x8", 40, NULL, NULL, 0},
    {"odd \042name\042 */ \134 \303\251\077\077/\012", "scale", "5x8", 40, NULL, NULL, 0},
    {"skip", "add", "5x8", 0, NULL, NULL, 0},
    {"head", "matmul", "40 -> 8", 320, NULL, NULL, 0},
    {"total", "total", "40 -> 3", 0, NULL, NULL, 0},
};

/* For each layer: kernel, arguments as numbers of views, their number, bytes read and written. */
static const GpuCall calls[] = {
    {0, (const int[]){0, 1, 2}, 3, 480},
    {0, (const int[]){2, 1, 3}, 3, 480},
    {1, (const int[]){3, 0, 4}, 3, 480},
    {2, (const int[]){4, 5, 6}, 3, 1472},
    {3, (const int[]){4, 7}, 2, 172},
};

/* Name, rank, shape, elements, byte offset in the caller's buffer and in its aligned copy. */
static const Port outputs[] = {
    {"first", 2, (const int64_t[]){1, 8}, 8, 0, 0},
    {"second", 1, (const int64_t[]){3}, 3, 32, 1024},
};

const Network mnv3c_network = {
    .name = "net",
    .input = {"image", 3, (const int64_t[]){1, 5, 8}, 40, 0, 0},
    .outputs = outputs,
    .output_count = 2,
    .layers = layers,
    .layer_count = 5,
};

const GpuNetwork mnv3c_gpu = {
    .kernels = kernels,
    .kernel_count = 4,
    .views = views,
    .view_count = 8,
    .calls = calls,
    .region_bytes = {160, 2048, 3072, 2304},
    .storage = "fp32",
    .half_arithmetic = 0,
    .build_options = "-cl-std=CL1.2 -cl-mad-enable",
    .source_digest = "db6b2780afccd51b733bceb28c30bc9880cdfc9c64000639b9fb6f965df44325",
    .source_bytes = 2139,
    .preamble_bytes = 125,
};

int net_init(int threads) { return mnv3c_engine_set_threads(threads); }
int net_set_threads(int threads) { return mnv3c_engine_set_threads(threads); }
void net_shutdown(void) { mnv3c_engine_shutdown(); }
const char* net_last_error(void) { return mnv3c_engine_last_error(); }

int net_run(const float* input, float* output) { return mnv3c_engine_run(input, output, NULL); }

int net_run_profiled(const float* input, float* output, uint64_t* layer_ns)
{
    return mnv3c_engine_run(input, output, layer_ns);
}

static int shape_of(const Port* port, const int64_t** shape)
{
    if (port != NULL && shape != NULL)
        *shape = port->shape;
    return port != NULL ? port->rank : -1;
}

const char* net_input_name(void) { return mnv3c_network.input.name; }
int net_input_rank(void) { return mnv3c_network.input.rank; }
int net_input_shape(const int64_t** shape) { return shape_of(&mnv3c_network.input, shape); }

int net_output_count(void) { return mnv3c_network.output_count; }
int net_output_rank(int index) { return shape_of(mnv3c_engine_output(index), NULL); }
int net_output_shape(int index, const int64_t** shape) { return shape_of(mnv3c_engine_output(index), shape); }

const char* net_output_name(int index)
{
    const Port* port = mnv3c_engine_output(index);
    return port != NULL ? port->name : NULL;
}

int net_layer_count(void) { return mnv3c_network.layer_count; }

const char* net_layer_name(int index)
{
    const Layer* layer = mnv3c_engine_layer(index);
    return layer != NULL ? layer->name : NULL;
}

const char* net_layer_kind(int index)
{
    const Layer* layer = mnv3c_engine_layer(index);
    return layer != NULL ? layer->kind : NULL;
}

const char* net_layer_shape(int index)
{
    const Layer* layer = mnv3c_engine_layer(index);
    return layer != NULL ? layer->shape : NULL;
}

int64_t net_layer_macs(int index)
{
    const Layer* layer = mnv3c_engine_layer(index);
    return layer != NULL ? layer->macs : -1;
}
