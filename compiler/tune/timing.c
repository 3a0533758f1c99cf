/* Calls a kernel for the tuner with the caches as they are inside a network, and takes the time.
 *
 * There the layers before have filled the nearest caches with their own data and code: a kernel's weights, its code and
 * its output have to come from further out, only its inputs have just been written.
 */
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "pool.h"
#include "tiles.h"
#include "tvm_abi.h"

enum { LINE_BYTES = 64 };

typedef struct {
    const volatile unsigned char* bytes;
    uint64_t count;
} Flood;

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Every core that the kernel will run on reads all of the flood. */
static int read_flood(int task, TVMParallelGroupEnv* env, void* closure)
{
    (void)task, (void)env;
    const Flood* flood = closure;
    for (uint64_t at = 0; at < flood->count; at += LINE_BYTES)
        (void)flood->bytes[at];
    return 0;
}

/* The workers of the kernel before, in a library of its own, still spin: on their CPU ours could not begin. */
static void let_others_sleep(int threads)
{
    const struct timespec longer_than_they_spin = {0, 300000};
    if (threads > 1)
        nanosleep(&longer_than_they_spin, NULL);
}

static void write_again(const TVMFFIAny* argument)
{
    const DLTensor* tensor = argument->value.pointer;
    const uint64_t count = (uint64_t)tensor->shape[0] * sizeof(float);
    volatile unsigned char* bytes = tensor->data;
    for (uint64_t at = 0; at < count; at += LINE_BYTES)
        bytes[at] = bytes[at];
}

/* Writes what the call took; the first `input_count` arguments are inputs. Returns 0, or what the kernel returned. */
int32_t mnv3c_tune_time(TVMKernel* kernel, const TVMFFIAny* arguments, int32_t argument_count, int32_t input_count,
                        const void* flood, uint64_t flood_bytes, int32_t threads, uint64_t* time_ns)
{
    Flood closure = {flood, flood_bytes};
    let_others_sleep(threads);
    mnv3c_pool_expect_jobs(1);
    mnv3c_pool_launch(read_flood, &closure, threads);
    for (int32_t i = 0; i < input_count; ++i)
        write_again(&arguments[i]);
    TVMFFIAny result = {TVM_FFI_NONE, 0, {.pointer = NULL}};
    mnv3c_allow_tiles(); /* a kernel that needs them crashes where there are none */
    const uint64_t begin_ns = now_ns();
    const int32_t code = kernel(NULL, arguments, argument_count, &result);
    *time_ns = now_ns() - begin_ns;
    mnv3c_pool_expect_jobs(0);
    return code;
}
