/* Runs the network that mnv3c_network describes: binds the caller's buffers, then calls one kernel after the other.
 *
 * No stdio and no errno: the library has to work with glibc, musl and bionic alike.
 */
#include "engine.h"

#include <string.h>
#include <time.h>

#include "float_mode.h"
#include "pool.h"
#include "tiles.h"

static char last_error[256];

static void append(const char* text)
{
    const size_t used = strlen(last_error);
    const size_t room = sizeof(last_error) - 1 - used;
    const size_t length = strlen(text);
    const size_t copied = length < room ? length : room;
    memcpy(last_error + used, text, copied);
    last_error[used + copied] = '\0';
}

static void append_number(int64_t number)
{
    char digits[24];
    char* cursor = digits + sizeof(digits);
    uint64_t magnitude = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    *--cursor = '\0';
    do
        *--cursor = (char)('0' + magnitude % 10);
    while (magnitude /= 10);
    if (number < 0)
        *--cursor = '-';
    append(cursor);
}

static int fail(const char* text)
{
    last_error[0] = '\0';
    append(text);
    return -1;
}

static int fail_layer(const Layer* layer, int32_t code)
{
    fail("layer ");
    append(layer->name);
    append(" failed with code ");
    append_number(code);
    return -1;
}

static int is_aligned(const void* address)
{
    return (uintptr_t)address % MNV3C_ALIGNMENT_BYTES == 0;
}

static void bind(View* views, int count, void* base)
{
    for (int i = 0; i < count; ++i)
        views[i].tensor.data = (unsigned char*)base + views[i].offset_bytes;
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int run_layers(const Network* network, uint64_t* layer_ns)
{
    uint64_t start = layer_ns != NULL ? now_ns() : 0;
    for (int i = 0; i < network->layer_count; ++i) {
        const Layer* layer = &network->layers[i];
        TVMFFIAny result = {TVM_FFI_NONE, 0, {NULL}};
        const int32_t code = layer->kernel(NULL, layer->arguments, layer->argument_count, &result);
        if (code != 0)
            return fail_layer(layer, code);
        if (layer_ns != NULL) {
            const uint64_t end = now_ns();
            layer_ns[i] = end - start;
            start = end;
        }
    }
    return 0;
}

static void deliver_outputs(const Network* network, unsigned char* output)
{
    for (int i = 0; i < network->output_count; ++i) {
        const Port* port = &network->outputs[i];
        memcpy(output + port->offset_bytes, network->output_copy + port->copy_offset_bytes,
               port->elements * sizeof(float));
    }
}

static int allow_tiles(const Network* network)
{
    static int allowed;
    if (!network->tiles || allowed)
        return 0;
    if (mnv3c_allow_tiles() != 0)
        return fail("the network was compiled for a CPU with AMX tiles; this CPU or its Linux has none");
    allowed = 1;
    return 0;
}

int mnv3c_engine_run(const float* input, float* output, uint64_t* layer_ns)
{
    const Network* network = &mnv3c_network;
    if (input == NULL || output == NULL)
        return fail("the input and the output must not be NULL");
    if (allow_tiles(network) != 0)
        return -1;

    void* source = (void*)input; /* kernels only read it */
    if (!is_aligned(input)) {
        source = network->input_copy;
        memcpy(source, input, network->input.elements * sizeof(float));
    }
    const int deliver = !network->outputs_aligned || !is_aligned(output);
    bind(network->input_views, network->input_view_count, source);
    bind(network->output_views, network->output_view_count, deliver ? (void*)network->output_copy : output);

    const uint64_t callers_mode = mnv3c_float_mode();
    mnv3c_set_float_mode(mnv3c_flushing(callers_mode));
    mnv3c_pool_expect_jobs(1);
    const int status = run_layers(network, layer_ns);
    mnv3c_pool_expect_jobs(0);
    mnv3c_set_float_mode(callers_mode);
    if (status == 0 && deliver)
        deliver_outputs(network, (unsigned char*)output);
    return status;
}

int mnv3c_engine_set_threads(int threads)
{
    if (threads < 0 || threads > MNV3C_POOL_MAX_THREADS)
        return fail("the number of threads must be 0 to 64");
    if (mnv3c_pool_resize(threads > 0 ? threads : 1) != 0)
        return fail("the system gives no more threads");
    return 0;
}

const char* mnv3c_engine_last_error(void)
{
    return last_error;
}

void mnv3c_engine_shutdown(void)
{
    mnv3c_pool_resize(1);
}
