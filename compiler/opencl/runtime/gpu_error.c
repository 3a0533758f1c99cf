#include "gpu_error.h"

#include <stdarg.h>
#include <stdio.h>

static char text[8192]; /* room for a compiler's log */
static GpuStatus last_status;

int gpu_fail(GpuStatus status, const char* format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    last_status = status;
    return -1;
}

const char* gpu_code_name(cl_int code)
{
    switch (code) {
    case -2: return "CL_DEVICE_NOT_AVAILABLE";
    case -4: return "CL_MEM_OBJECT_ALLOCATION_FAILURE";
    case -5: return "CL_OUT_OF_RESOURCES";
    case -6: return "CL_OUT_OF_HOST_MEMORY";
    case -7: return "CL_PROFILING_INFO_NOT_AVAILABLE";
    case -11: return "CL_BUILD_PROGRAM_FAILURE";
    case -13: return "CL_MISALIGNED_SUB_BUFFER_OFFSET";
    case -46: return "CL_INVALID_KERNEL_NAME";
    case -52: return "CL_INVALID_KERNEL_ARGS";
    case -54: return "CL_INVALID_WORK_GROUP_SIZE";
    case -61: return "CL_INVALID_BUFFER_SIZE";
    default: return "see cl.h";
    }
}

int gpu_fail_call(const char* function, cl_int code)
{
    return gpu_fail(GPU_FAILED, "%s failed with code %d (%s)", function, (int)code, gpu_code_name(code));
}

const char* gpu_last_error(void)
{
    return text;
}

GpuStatus gpu_last_status(void)
{
    return last_status;
}
