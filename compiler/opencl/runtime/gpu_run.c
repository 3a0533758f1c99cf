/* Runs: writes the input, launches a kernel for each layer, reads the outputs; with times if asked to. */
#include "engine.h"
#include "gpu_error.h"
#include "gpu_state.h"
#include "opencl_loader.h"

static int enqueue_layer(cl_command_queue queue, int layer, const WorkGroup* group, cl_event* event)
{
    const GpuKernel* kernel = &mnv3c_gpu.kernels[mnv3c_gpu.calls[layer].kernel];
    const size_t* local_size = group->size[0] != 0 ? group->size : NULL;
    const cl_int code = cl.EnqueueNDRangeKernel(queue, gpu.layers[layer], 3, NULL, kernel->global_size, local_size, 0,
                                                NULL, event);
    if (code == CL_SUCCESS)
        return 0;
    return gpu_fail(GPU_FAILED, "layer %s: clEnqueueNDRangeKernel failed with code %d (%s)",
                    mnv3c_network.layers[layer].name, (int)code, gpu_code_name(code));
}

/* `events` has a place for each command, or is NULL. */
static int enqueue_all(cl_command_queue queue, const float* input, float* output, cl_event* events)
{
    const Network* network = &mnv3c_network;
    cl_int code = cl.EnqueueWriteBuffer(queue, gpu.regions[GPU_INPUT], CL_FALSE, 0, network->input.elements * sizeof(float),
                                        input, 0, NULL, events != NULL ? events++ : NULL);
    if (code != CL_SUCCESS)
        return gpu_fail_call("clEnqueueWriteBuffer", code);
    for (int i = 0; i < network->layer_count; ++i)
        if (enqueue_layer(queue, i, &gpu.groups[mnv3c_gpu.calls[i].kernel], events != NULL ? events++ : NULL) != 0)
            return -1;
    for (int i = 0; i < network->output_count; ++i) {
        const Port* port = &network->outputs[i];
        code = cl.EnqueueReadBuffer(queue, gpu.regions[GPU_OUTPUT], CL_FALSE, port->copy_offset_bytes,
                                    port->elements * sizeof(float), (unsigned char*)output + port->offset_bytes, 0, NULL,
                                    events != NULL ? events++ : NULL);
        if (code != CL_SUCCESS)
            return gpu_fail_call("clEnqueueReadBuffer", code);
    }
    return 0;
}

/* Waits in any case: the caller's buffers may be gone afterwards. */
static int finish(cl_command_queue queue, int status)
{
    const cl_int code = cl.Finish(queue);
    if (status == 0 && code != CL_SUCCESS)
        return gpu_fail_call("clFinish", code);
    return status;
}

static int duration(cl_event event, uint64_t* ns)
{
    cl_ulong start = 0, end = 0;
    cl_int code = cl.GetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof(start), &start, NULL);
    if (code == CL_SUCCESS)
        code = cl.GetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof(end), &end, NULL);
    *ns = end > start ? end - start : 0;
    return code == CL_SUCCESS ? 0 : gpu_fail_call("clGetEventProfilingInfo", code);
}

static int read_times(GpuTimes* times)
{
    const int layers = mnv3c_network.layer_count;
    int status = duration(gpu.events[0], &times->write_ns);
    for (int i = 0; i < layers && status == 0; ++i)
        status = duration(gpu.events[1 + i], &times->layers[i]);
    times->read_ns = 0;
    for (int i = 0; i < mnv3c_network.output_count && status == 0; ++i) {
        uint64_t ns = 0;
        status = duration(gpu.events[1 + layers + i], &ns);
        times->read_ns += ns;
    }
    return status;
}

static void release_events(void)
{
    for (int i = 0; i < gpu_event_count(); ++i)
        if (gpu.events[i] != NULL) {
            cl.ReleaseEvent(gpu.events[i]);
            gpu.events[i] = NULL;
        }
}

static int require_timed_queue(void)
{
    return gpu.timed_queue != NULL ? 0 : gpu_make_queue(CL_QUEUE_PROFILING_ENABLE, &gpu.timed_queue);
}

int gpu_run(const float* input, float* output, GpuTimes* times)
{
    if (times == NULL)
        return finish(gpu.queue, enqueue_all(gpu.queue, input, output, NULL));
    if (require_timed_queue() != 0)
        return -1;
    int status = finish(gpu.timed_queue, enqueue_all(gpu.timed_queue, input, output, gpu.events));
    if (status == 0)
        status = read_times(times);
    release_events();
    return status;
}

int gpu_time_kernel(int kernel, const WorkGroup* group, uint64_t* ns)
{
    if (require_timed_queue() != 0)
        return -1;
    int status = finish(gpu.timed_queue, enqueue_layer(gpu.timed_queue, gpu_layer_of(kernel), group, gpu.events));
    if (status == 0)
        status = duration(gpu.events[0], ns);
    release_events();
    return status;
}
