/* Work-groups: which ones kernels run in, and whether the device takes them. */
#include "engine.h"
#include "gpu_error.h"
#include "gpu_state.h"
#include "opencl_loader.h"

int gpu_take_tuning(const char* path)
{
    return gpu_tuning_read(path, &gpu.device, gpu.groups);
}

int gpu_layer_of(int kernel)
{
    for (int i = 0; i < mnv3c_network.layer_count; ++i)
        if (mnv3c_gpu.calls[i].kernel == kernel)
            return i;
    return -1;
}

static int kernel_value(int kernel, cl_uint what, size_t bytes, void* value)
{
    const cl_int code =
        cl.GetKernelWorkGroupInfo(gpu.layers[gpu_layer_of(kernel)], gpu.device.id, what, bytes, value, NULL);
    return code == CL_SUCCESS ? 0 : gpu_fail_call("clGetKernelWorkGroupInfo", code);
}

int gpu_kernel_limit(int kernel, size_t* work_items)
{
    if (kernel_value(kernel, CL_KERNEL_WORK_GROUP_SIZE, sizeof(*work_items), work_items) != 0)
        return -1;
    if (*work_items > gpu.device.max_work_group)
        *work_items = gpu.device.max_work_group;
    return 0;
}

static int require_work_group(int kernel)
{
    const size_t* size = gpu.groups[kernel].size;
    const char* name = mnv3c_gpu.kernels[kernel].name;
    size_t limit = 0;
    cl_ulong local_bytes = 0;
    if (gpu_kernel_limit(kernel, &limit) != 0 ||
        kernel_value(kernel, CL_KERNEL_LOCAL_MEM_SIZE, sizeof(local_bytes), &local_bytes) != 0)
        return -1;
    if (size[0] * size[1] * size[2] > limit)
        return gpu_fail(GPU_UNSUITABLE, "kernel %s: a work-group of %zu x %zu x %zu; %s takes %zu work items at most",
                        name, size[0], size[1], size[2], gpu.device.name, limit);
    for (int i = 0; i < 3; ++i)
        if (size[i] > gpu.device.max_work_items[i])
            return gpu_fail(GPU_UNSUITABLE, "kernel %s: a work-group of %zu x %zu x %zu; %s takes %zu x %zu x %zu at most",
                            name, size[0], size[1], size[2], gpu.device.name, gpu.device.max_work_items[0],
                            gpu.device.max_work_items[1], gpu.device.max_work_items[2]);
    if (local_bytes > gpu.device.local_memory_bytes)
        return gpu_fail(GPU_UNSUITABLE, "kernel %s: takes %llu bytes of local memory; %s has %llu", name,
                        (unsigned long long)local_bytes, gpu.device.name,
                        (unsigned long long)gpu.device.local_memory_bytes);
    return 0;
}

int gpu_require_work_groups(void)
{
    for (int i = 0; i < mnv3c_gpu.kernel_count; ++i)
        if (require_work_group(i) != 0)
            return -1;
    return 0;
}
