#include "gpu_build.h"

#include <stdlib.h>
#include <string.h>

#include "gpu_cache.h"
#include "gpu_error.h"
#include "gpu_network.h"
#include "opencl_loader.h"

enum { LOG_BYTES = 3072 }; /* the first errors; the rest follows from them */

static cl_int compile(cl_program program, cl_device_id device)
{
    return cl.BuildProgram(program, 1, &device, mnv3c_gpu.build_options, NULL, NULL);
}

/* NULL for a binary that the driver does not take: it is made anew then. */
static cl_program from_cache(const GpuDevice* device, cl_context context)
{
    size_t bytes = 0;
    unsigned char* binary = gpu_cache_read(device, &bytes);
    if (binary == NULL)
        return NULL;
    cl_int code = CL_SUCCESS, status = CL_SUCCESS;
    const unsigned char* data = binary;
    cl_program program = cl.CreateProgramWithBinary(context, 1, &device->id, &bytes, &data, &status, &code);
    free(binary);
    if (program != NULL && code == CL_SUCCESS && status == CL_SUCCESS && compile(program, device->id) == CL_SUCCESS)
        return program;
    if (program != NULL)
        cl.ReleaseProgram(program);
    return NULL;
}

static void keep(const GpuDevice* device, cl_program program)
{
    size_t bytes = 0;
    if (cl.GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof(bytes), &bytes, NULL) != CL_SUCCESS || bytes == 0)
        return;
    unsigned char* binary = malloc(bytes);
    if (binary == NULL)
        return;
    if (cl.GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof(binary), &binary, NULL) == CL_SUCCESS)
        gpu_cache_write(device, binary, bytes);
    free(binary);
}

/* Copies as much of the log as there is room for. */
static void read_log(cl_program program, cl_device_id device, char* text)
{
    size_t bytes = 0;
    text[0] = '\0';
    cl.GetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
    char* log = calloc(bytes + 1, 1);
    if (log == NULL)
        return;
    cl.GetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
    strncat(text, log, LOG_BYTES - 1);
    free(log);
    for (size_t end = strlen(text); end > 0 && (text[end - 1] == '\n' || text[end - 1] == ' '); --end)
        text[end - 1] = '\0';
}

/* Compiles one kernel alone. Returns whether it compiles; if not, with its log. */
static int compiles(const GpuDevice* device, cl_context context, const GpuKernel* kernel, char* log)
{
    const char* parts[2] = {mnv3c_source, mnv3c_source + kernel->source_offset};
    const size_t bytes[2] = {mnv3c_gpu.preamble_bytes, kernel->source_bytes};
    cl_int code = CL_SUCCESS;
    cl_program program = cl.CreateProgramWithSource(context, 2, parts, bytes, &code);
    if (program == NULL)
        return 1;
    const int passes = compile(program, device->id) == CL_SUCCESS;
    if (!passes)
        read_log(program, device->id, log);
    cl.ReleaseProgram(program);
    return passes;
}

/* Drivers' logs name kernels and lines each in their own way, or not at all: so look for the culprit. */
static int fail_build(const GpuDevice* device, cl_context context, cl_program program, cl_int code)
{
    char log[LOG_BYTES];
    for (int i = 0; i < mnv3c_gpu.kernel_count; ++i)
        if (!compiles(device, context, &mnv3c_gpu.kernels[i], log))
            return gpu_fail(GPU_FAILED, "kernel %s does not compile on %s; the compiler's log:\n%s",
                            mnv3c_gpu.kernels[i].name, device->name, log);
    read_log(program, device->id, log);
    return gpu_fail(GPU_FAILED, "the kernels do not compile on %s (code %d); the compiler's log:\n%s", device->name,
                    (int)code, log);
}

cl_program gpu_build(const GpuDevice* device, cl_context context, int* cached)
{
    cl_program program = from_cache(device, context);
    *cached = program != NULL;
    if (program != NULL)
        return program;
    const char* source = mnv3c_source;
    cl_int code = CL_SUCCESS;
    program = cl.CreateProgramWithSource(context, 1, &source, &mnv3c_gpu.source_bytes, &code);
    if (program == NULL) {
        gpu_fail_call("clCreateProgramWithSource", code);
        return NULL;
    }
    code = compile(program, device->id);
    if (code == CL_SUCCESS) {
        keep(device, program);
        return program;
    }
    fail_build(device, context, program, code);
    cl.ReleaseProgram(program);
    return NULL;
}
