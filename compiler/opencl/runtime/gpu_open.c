/* Opens the device and closes it: queue, memory, kernels with their arguments. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "gpu_build.h"
#include "gpu_error.h"
#include "gpu_state.h"
#include "opencl_loader.h"

GpuState gpu;

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int gpu_event_count(void)
{
    return 1 + mnv3c_network.layer_count + mnv3c_network.output_count;
}

static int allocate_tables(void)
{
    gpu.views = calloc((size_t)mnv3c_gpu.view_count, sizeof(*gpu.views));
    gpu.layers = calloc((size_t)mnv3c_network.layer_count, sizeof(*gpu.layers));
    gpu.events = calloc((size_t)gpu_event_count(), sizeof(*gpu.events));
    gpu.groups = calloc((size_t)mnv3c_gpu.kernel_count, sizeof(*gpu.groups));
    if (gpu.views == NULL || gpu.layers == NULL || gpu.events == NULL || gpu.groups == NULL)
        return gpu_fail(GPU_MISSING, "out of memory");
    for (int i = 0; i < mnv3c_gpu.kernel_count; ++i)
        memcpy(gpu.groups[i].size, mnv3c_gpu.kernels[i].local_size, sizeof(gpu.groups[i].size));
    return 0;
}

int gpu_make_queue(cl_bitfield properties, cl_command_queue* queue)
{
    cl_int code = CL_SUCCESS;
    *queue = cl.CreateCommandQueue(gpu.context, gpu.device.id, properties, &code);
    return *queue != NULL ? 0 : gpu_fail_call("clCreateCommandQueue", code);
}

static int make_memory(void)
{
    for (int i = 0; i < GPU_REGIONS; ++i) {
        const size_t bytes = mnv3c_gpu.region_bytes[i];
        const int constant = i == GPU_WEIGHTS && bytes > 0;
        cl_int code = CL_SUCCESS;
        gpu.regions[i] = cl.CreateBuffer(gpu.context, constant ? CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR : CL_MEM_READ_WRITE,
                                         bytes > 0 ? bytes : 1, constant ? (void*)mnv3c_weights : NULL, &code);
        if (gpu.regions[i] == NULL)
            return gpu_fail_call("clCreateBuffer", code);
    }
    for (int i = 0; i < mnv3c_gpu.view_count; ++i) {
        const GpuView* view = &mnv3c_gpu.views[i];
        const cl_buffer_region part = {view->offset_bytes, view->size_bytes};
        cl_int code = CL_SUCCESS;
        gpu.views[i] = cl.CreateSubBuffer(gpu.regions[view->region], 0, CL_BUFFER_CREATE_TYPE_REGION, &part, &code);
        if (gpu.views[i] == NULL)
            return gpu_fail_call("clCreateSubBuffer", code);
    }
    return 0;
}

static int make_layer(cl_program program, int index)
{
    const GpuCall* call = &mnv3c_gpu.calls[index];
    cl_int code = CL_SUCCESS;
    gpu.layers[index] = cl.CreateKernel(program, mnv3c_gpu.kernels[call->kernel].name, &code);
    if (gpu.layers[index] == NULL)
        return gpu_fail_call("clCreateKernel", code);
    for (int i = 0; i < call->view_count; ++i) {
        code = cl.SetKernelArg(gpu.layers[index], (cl_uint)i, sizeof(cl_mem), &gpu.views[call->views[i]]);
        if (code != CL_SUCCESS)
            return gpu_fail_call("clSetKernelArg", code);
    }
    return 0;
}

static int make_layers(void)
{
    const uint64_t start = now_ns();
    cl_program program = gpu_build(&gpu.device, gpu.context, &gpu.start.cached);
    if (program == NULL)
        return -1;
    gpu.start.build_ns = now_ns() - start;
    int status = 0;
    for (int i = 0; i < mnv3c_network.layer_count && status == 0; ++i)
        status = make_layer(program, i);
    cl.ReleaseProgram(program); /* the kernels keep it */
    return status;
}

static int open_device(void)
{
    if (opencl_load() != 0 || gpu_device_find(&gpu.device) != 0 || allocate_tables() != 0)
        return -1;
    cl_int code = CL_SUCCESS;
    gpu.context = cl.CreateContext(NULL, 1, &gpu.device.id, NULL, NULL, &code);
    if (gpu.context == NULL)
        return gpu_fail_call("clCreateContext", code);
    if (gpu_make_queue(0, &gpu.queue) != 0 || make_memory() != 0)
        return -1;
    return make_layers();
}

int gpu_open(void)
{
    if (gpu.open)
        return 0;
    if (open_device() != 0) {
        mnv3c_engine_shutdown();
        return -1;
    }
    gpu.open = 1;
    return 0;
}

/* What is there of it, after a start that failed midway too. */
void mnv3c_engine_shutdown(void)
{
    for (int i = 0; gpu.layers != NULL && i < mnv3c_network.layer_count; ++i)
        if (gpu.layers[i] != NULL)
            cl.ReleaseKernel(gpu.layers[i]);
    for (int i = 0; gpu.views != NULL && i < mnv3c_gpu.view_count; ++i)
        if (gpu.views[i] != NULL)
            cl.ReleaseMemObject(gpu.views[i]);
    for (int i = 0; i < GPU_REGIONS; ++i)
        if (gpu.regions[i] != NULL)
            cl.ReleaseMemObject(gpu.regions[i]);
    if (gpu.timed_queue != NULL)
        cl.ReleaseCommandQueue(gpu.timed_queue);
    if (gpu.queue != NULL)
        cl.ReleaseCommandQueue(gpu.queue);
    if (gpu.context != NULL)
        cl.ReleaseContext(gpu.context);
    free(gpu.views);
    free(gpu.layers);
    free(gpu.events);
    free(gpu.groups);
    memset(&gpu, 0, sizeof(gpu));
}

const GpuDevice* gpu_device(void)
{
    return &gpu.device;
}

GpuStart gpu_start(void)
{
    return gpu.start;
}

WorkGroup* gpu_work_groups(void)
{
    return gpu.groups;
}
