/* net: 3 layers, 40 MACs, 160 bytes of weights.
 *
 * Written by mnv3c; do not edit. engine.h explains the tables.
 */
#include "net.h"

#include "engine.h"

/* The activations of all layers, and stand-ins for caller's buffers that are not aligned. */
static _Alignas(MNV3C_ALIGNMENT_BYTES) unsigned char arena[384];
static _Alignas(MNV3C_ALIGNMENT_BYTES) unsigned char input_copy[160];
static _Alignas(MNV3C_ALIGNMENT_BYTES) unsigned char output_copy[128];

/* The parts of the caller's buffers that kernels touch: byte offset, and the tensor that each run binds. */
static View input_views[] = {
    {0, MNV3C_FLOATS(NULL, 40)},
};
static View output_views[] = {
    {0, MNV3C_FLOATS(NULL, 5)},
    {64, MNV3C_FLOATS(NULL, 3)},
};

/* The kernels, each compiled by TVM into an object file. */
extern TVMKernel __tvm_ffi_scale;
extern TVMKernel __tvm_ffi_reverse;
extern TVMKernel __tvm_ffi_split;

/* Arguments of each layer's kernel: a part of the caller's buffers, or byte offset and number of floats. */
#define INPUT(view) MNV3C_ARGUMENT(&input_views[view].tensor)
#define OUTPUT(view) MNV3C_ARGUMENT(&output_views[view].tensor)
#define ARENA(offset, elements) MNV3C_BUFFER(arena + (offset), elements)
#define WEIGHTS(offset, elements) MNV3C_BUFFER(mnv3c_weights + (offset), elements)

/* 0: stem, scale 5x8, 40 MACs */
static const TVMFFIAny layer_0[] = {INPUT(0), WEIGHTS(0, 40), ARENA(0, 40)};

/* 1: odd "name" * / \ é??/?, reverse 40 -> 40, 0 MACs */
static const TVMFFIAny layer_1[] = {ARENA(0, 40), ARENA(192, 40)};

/* 2: head, split 40 -> 5 + 3, 0 MACs */
static const TVMFFIAny layer_2[] = {ARENA(192, 40), OUTPUT(0), OUTPUT(1)};

/* Name, kind, shape, MACs, kernel, arguments and their number. */
static const Layer layers[] = {
    {"stem", "scale", "5x8", 40, __tvm_ffi_scale, layer_0, 3},
    {"odd \042name\042 */ \134 \303\251\077\077/\012", "reverse", "40 -> 40", 0, __tvm_ffi_reverse, layer_1, 2},
    {"head", "split", "40 -> 5 + 3", 0, __tvm_ffi_split, layer_2, 3},
};

/* Name, rank, shape, elements, byte offset in the caller's buffer and in its aligned copy. */
static const Port outputs[] = {
    {"first", 2, (const int64_t[]){1, 5}, 5, 0, 0},
    {"second", 1, (const int64_t[]){3}, 3, 20, 64},
};

const Network mnv3c_network = {
    .name = "net",
    .input = {"image", 3, (const int64_t[]){1, 5, 8}, 40, 0, 0},
    .outputs = outputs,
    .output_count = 2,
    .outputs_aligned = 0,
    .input_views = input_views,
    .input_view_count = 1,
    .output_views = output_views,
    .output_view_count = 2,
    .input_copy = input_copy,
    .output_copy = output_copy,
    .tiles = 0,
    .layers = layers,
    .layer_count = 3,
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
