/* The part of OpenCL 1.2 that the engine uses, so that no SDK is needed to build it.
 *
 * Types, values and signatures are those of the Khronos OpenCL specification 1.2 and its binary interface; the functions
 * are pointers, which opencl_loader.c fills at run time.
 */
#ifndef MNV3C_OPENCL_API_H
#define MNV3C_OPENCL_API_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t cl_int;
typedef uint32_t cl_uint, cl_bool;
typedef uint64_t cl_ulong, cl_bitfield;
typedef struct _cl_platform_id* cl_platform_id;
typedef struct _cl_device_id* cl_device_id;
typedef struct _cl_context* cl_context;
typedef struct _cl_command_queue* cl_command_queue;
typedef struct _cl_mem* cl_mem;
typedef struct _cl_program* cl_program;
typedef struct _cl_kernel* cl_kernel;
typedef struct _cl_event* cl_event;

typedef struct {
    size_t origin, size;
} cl_buffer_region;

enum {
    CL_SUCCESS = 0,
    CL_DEVICE_NOT_FOUND = -1,
    CL_PLATFORM_NOT_FOUND_KHR = -1001,
    CL_FALSE = 0,

    CL_PLATFORM_VERSION = 0x0901,
    CL_PLATFORM_NAME = 0x0902,

    CL_DEVICE_TYPE_GPU = 1 << 2,
    CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
    CL_DEVICE_MAX_WORK_ITEM_SIZES = 0x1005,
    CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
    CL_DEVICE_MEM_BASE_ADDR_ALIGN = 0x1019, /* in bits */
    CL_DEVICE_GLOBAL_MEM_SIZE = 0x101F,
    CL_DEVICE_LOCAL_MEM_SIZE = 0x1023,
    CL_DEVICE_NAME = 0x102B,
    CL_DEVICE_VENDOR = 0x102C,
    CL_DRIVER_VERSION = 0x102D,
    CL_DEVICE_VERSION = 0x102F,
    CL_DEVICE_EXTENSIONS = 0x1030, /* names with spaces between */

    CL_QUEUE_PROFILING_ENABLE = 1 << 1,
    CL_MEM_READ_WRITE = 1 << 0,
    CL_MEM_READ_ONLY = 1 << 2,
    CL_MEM_COPY_HOST_PTR = 1 << 5,
    CL_BUFFER_CREATE_TYPE_REGION = 0x1220,
    CL_PROGRAM_BINARY_SIZES = 0x1165,
    CL_PROGRAM_BINARIES = 0x1166,
    CL_PROGRAM_BUILD_LOG = 0x1183,
    CL_KERNEL_WORK_GROUP_SIZE = 0x11B0,
    CL_KERNEL_LOCAL_MEM_SIZE = 0x11B2,
    CL_PROFILING_COMMAND_START = 0x1282,
    CL_PROFILING_COMMAND_END = 0x1283,
};
#define CL_DEVICE_TYPE_ALL 0xFFFFFFFFu

typedef void OpenClContextNotify(const char* text, const void* data, size_t bytes, void* user);
typedef void OpenClProgramNotify(cl_program program, void* user);

/* X(result, name without cl, parameters) */
#define OPENCL_FUNCTIONS(X)                                                                                         \
    X(cl_int, GetPlatformIDs, (cl_uint, cl_platform_id*, cl_uint*))                                                 \
    X(cl_int, GetPlatformInfo, (cl_platform_id, cl_uint, size_t, void*, size_t*))                                   \
    X(cl_int, GetDeviceIDs, (cl_platform_id, cl_bitfield, cl_uint, cl_device_id*, cl_uint*))                        \
    X(cl_int, GetDeviceInfo, (cl_device_id, cl_uint, size_t, void*, size_t*))                                       \
    X(cl_context, CreateContext,                                                                                    \
      (const intptr_t*, cl_uint, const cl_device_id*, OpenClContextNotify*, void*, cl_int*))                        \
    X(cl_int, ReleaseContext, (cl_context))                                                                         \
    X(cl_command_queue, CreateCommandQueue, (cl_context, cl_device_id, cl_bitfield, cl_int*))                       \
    X(cl_int, ReleaseCommandQueue, (cl_command_queue))                                                              \
    X(cl_mem, CreateBuffer, (cl_context, cl_bitfield, size_t, void*, cl_int*))                                      \
    X(cl_mem, CreateSubBuffer, (cl_mem, cl_bitfield, cl_uint, const void*, cl_int*))                                \
    X(cl_int, ReleaseMemObject, (cl_mem))                                                                           \
    X(cl_program, CreateProgramWithSource, (cl_context, cl_uint, const char**, const size_t*, cl_int*))             \
    X(cl_program, CreateProgramWithBinary,                                                                          \
      (cl_context, cl_uint, const cl_device_id*, const size_t*, const unsigned char**, cl_int*, cl_int*))           \
    X(cl_int, BuildProgram, (cl_program, cl_uint, const cl_device_id*, const char*, OpenClProgramNotify*, void*))   \
    X(cl_int, GetProgramInfo, (cl_program, cl_uint, size_t, void*, size_t*))                                        \
    X(cl_int, GetProgramBuildInfo, (cl_program, cl_device_id, cl_uint, size_t, void*, size_t*))                     \
    X(cl_int, ReleaseProgram, (cl_program))                                                                         \
    X(cl_kernel, CreateKernel, (cl_program, const char*, cl_int*))                                                  \
    X(cl_int, ReleaseKernel, (cl_kernel))                                                                           \
    X(cl_int, SetKernelArg, (cl_kernel, cl_uint, size_t, const void*))                                              \
    X(cl_int, GetKernelWorkGroupInfo, (cl_kernel, cl_device_id, cl_uint, size_t, void*, size_t*))                   \
    X(cl_int, EnqueueNDRangeKernel,                                                                                 \
      (cl_command_queue, cl_kernel, cl_uint, const size_t*, const size_t*, const size_t*, cl_uint, const cl_event*, \
       cl_event*))                                                                                                  \
    X(cl_int, EnqueueReadBuffer,                                                                                    \
      (cl_command_queue, cl_mem, cl_bool, size_t, size_t, void*, cl_uint, const cl_event*, cl_event*))              \
    X(cl_int, EnqueueWriteBuffer,                                                                                   \
      (cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void*, cl_uint, const cl_event*, cl_event*))        \
    X(cl_int, Finish, (cl_command_queue))                                                                           \
    X(cl_int, GetEventProfilingInfo, (cl_event, cl_uint, size_t, void*, size_t*))                                   \
    X(cl_int, ReleaseEvent, (cl_event))

typedef struct {
#define OPENCL_POINTER(result, name, parameters) result(*name) parameters;
    OPENCL_FUNCTIONS(OPENCL_POINTER)
#undef OPENCL_POINTER
} OpenCl;

#endif
