/* Three kernels with the binary interface of TVM's, and the ways in which those use their host. */
#include <stddef.h>
#include <stdint.h>

#include "tvm_abi.h"

__attribute__((weak)) int (*__TVMBackendParallelLaunch)(TVMParallelLambda*, void*, int) = NULL;
__attribute__((weak)) void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = NULL;
__attribute__((weak)) int (*__TVMBackendFreeWorkspace)(int, int, void*) = NULL;

enum { MISUSED = -2, REFUSED = -7 };

/* The floats of an argument, or NULL where a kernel of TVM's would go wrong. */
static float* floats(const TVMFFIAny* argument, int64_t elements)
{
    const DLTensor* tensor = argument->value.pointer;
    const int known = argument->type_index == 7 && tensor->ndim == 1 && tensor->shape[0] == elements &&
                      tensor->strides[0] == 1 && tensor->byte_offset == 0 && tensor->device.device_type == 1 &&
                      tensor->dtype.code == 2 && tensor->dtype.bits == 32 && tensor->dtype.lanes == 1;
    return known && (uintptr_t)tensor->data % 64 == 0 ? tensor->data : NULL;
}

enum { ELEMENTS = 40 };

typedef struct {
    const float *input, *weights;
    float* output;
} Scale;

static int scale_task(int task, TVMParallelGroupEnv* env, void* closure)
{
    const Scale* scale = closure;
    for (int i = task; i < ELEMENTS; i += env->num_task)
        scale->output[i] = scale->input[i] * scale->weights[i];
    return scale->input[0] == 12345.0f ? REFUSED : 0;
}

/* output = input * weights, in parallel; refuses an input that starts with 12345 */
int32_t __tvm_ffi_scale(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result)
{
    (void)self, (void)result;
    Scale scale = {floats(&arguments[0], ELEMENTS), floats(&arguments[1], ELEMENTS), floats(&arguments[2], ELEMENTS)};
    if (count != 3 || !scale.input || !scale.weights || !scale.output)
        return MISUSED;
    return __TVMBackendParallelLaunch(scale_task, &scale, 0);
}

/* output = reversed input, by way of a workspace */
int32_t __tvm_ffi_reverse(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result)
{
    (void)self, (void)result;
    const float* input = floats(&arguments[0], ELEMENTS);
    float* output = floats(&arguments[1], ELEMENTS);
    float* workspace = __TVMBackendAllocWorkspace(1, 0, ELEMENTS * sizeof(float), 2, 32);
    if (count != 2 || !input || !output || !workspace || (uintptr_t)workspace % 64 != 0)
        return MISUSED;
    for (int i = 0; i < ELEMENTS; ++i)
        workspace[i] = input[i];
    for (int i = 0; i < ELEMENTS; ++i)
        output[i] = workspace[ELEMENTS - 1 - i];
    return __TVMBackendFreeWorkspace(1, 0, workspace);
}

/* first = input[0:5], second = input[5:8] */
int32_t __tvm_ffi_split(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result)
{
    (void)self, (void)result;
    const float* input = floats(&arguments[0], ELEMENTS);
    float* first = floats(&arguments[1], 5);
    float* second = floats(&arguments[2], 3);
    if (count != 3 || !input || !first || !second)
        return MISUSED;
    for (int i = 0; i < 5; ++i)
        first[i] = input[i];
    for (int i = 0; i < 3; ++i)
        second[i] = input[5 + i];
    return 0;
}
