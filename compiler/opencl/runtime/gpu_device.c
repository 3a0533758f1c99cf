#include "gpu_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_error.h"
#include "gpu_network.h"
#include "opencl_loader.h"

enum { MOST_PLATFORMS = 16, MOST_DEVICES = 16, LONGEST_ANSWER = 1024 };

/* Copies as much as there is room for; what is not known becomes "unknown". */
static void copy_printable(char* text, const char* answer, cl_int code)
{
    snprintf(text, GPU_NAME_BYTES, "%.*s", GPU_NAME_BYTES - 1, code == CL_SUCCESS ? answer : "unknown");
    for (char* c = text; *c != '\0'; ++c)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

static void device_text(cl_device_id id, cl_uint what, char* text)
{
    char answer[LONGEST_ANSWER] = "";
    const cl_int code = cl.GetDeviceInfo(id, what, sizeof(answer), answer, NULL);
    copy_printable(text, answer, code);
}

static void platform_text(cl_platform_id id, cl_uint what, char* text)
{
    char answer[LONGEST_ANSWER] = "";
    const cl_int code = cl.GetPlatformInfo(id, what, sizeof(answer), answer, NULL);
    copy_printable(text, answer, code);
}

static int is_wanted(cl_platform_id platform, cl_device_id id, const char* wanted)
{
    char name[GPU_NAME_BYTES], platform_name[GPU_NAME_BYTES], both[2 * GPU_NAME_BYTES + 2];
    if (wanted == NULL)
        return 1;
    platform_text(platform, CL_PLATFORM_NAME, platform_name);
    device_text(id, CL_DEVICE_NAME, name);
    snprintf(both, sizeof(both), "%s: %s", platform_name, name);
    return strstr(both, wanted) != NULL;
}

/* Returns whether there is a device of that kind, and puts it and its platform there. */
static int find_kind(const cl_platform_id* platforms, cl_uint count, cl_bitfield kind, const char* wanted,
                     cl_platform_id* platform, cl_device_id* found)
{
    for (cl_uint i = 0; i < count; ++i) {
        cl_device_id devices[MOST_DEVICES];
        cl_uint device_count = 0;
        if (cl.GetDeviceIDs(platforms[i], kind, MOST_DEVICES, devices, &device_count) != CL_SUCCESS)
            continue;
        for (cl_uint j = 0; j < device_count && j < MOST_DEVICES; ++j)
            if (is_wanted(platforms[i], devices[j], wanted)) {
                *platform = platforms[i];
                *found = devices[j];
                return 1;
            }
    }
    return 0;
}

static int choose(cl_platform_id* platform, cl_device_id* id)
{
    cl_platform_id platforms[MOST_PLATFORMS];
    cl_uint count = 0;
    const cl_int code = cl.GetPlatformIDs(MOST_PLATFORMS, platforms, &count);
    if (code == CL_PLATFORM_NOT_FOUND_KHR || (code == CL_SUCCESS && count == 0))
        return gpu_fail(GPU_MISSING, "no OpenCL platform: the system's OpenCL has no driver (ICD)");
    if (code != CL_SUCCESS)
        return gpu_fail_call("clGetPlatformIDs", code);
    const cl_uint known = count < MOST_PLATFORMS ? count : MOST_PLATFORMS;
    const char* wanted = getenv("MNV3C_OPENCL_DEVICE");
    if (wanted != NULL && *wanted == '\0')
        wanted = NULL;
    if (find_kind(platforms, known, CL_DEVICE_TYPE_GPU, wanted, platform, id) ||
        find_kind(platforms, known, CL_DEVICE_TYPE_ALL, wanted, platform, id))
        return 0;
    if (wanted != NULL)
        return gpu_fail(GPU_MISSING, "no OpenCL device: none is called \"%s\" (MNV3C_OPENCL_DEVICE)", wanted);
    return gpu_fail(GPU_MISSING, "no OpenCL device: the drivers of %u platforms know none", (unsigned)count);
}

static int read_limits(GpuDevice* device)
{
    cl_uint alignment_bits = 0;
    const struct {
        cl_uint what;
        size_t bytes;
        void* place;
    } limits[] = {
        {CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(device->max_work_group), &device->max_work_group},
        {CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof(device->max_work_items), device->max_work_items},
        {CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof(cl_ulong), &device->max_buffer_bytes},
        {CL_DEVICE_GLOBAL_MEM_SIZE, sizeof(cl_ulong), &device->memory_bytes},
        {CL_DEVICE_LOCAL_MEM_SIZE, sizeof(cl_ulong), &device->local_memory_bytes},
        {CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof(alignment_bits), &alignment_bits},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); ++i) {
        const cl_int code = cl.GetDeviceInfo(device->id, limits[i].what, limits[i].bytes, limits[i].place, NULL);
        if (code != CL_SUCCESS)
            return gpu_fail_call("clGetDeviceInfo", code);
    }
    if (GPU_ALIGNMENT_BYTES % (alignment_bits > 8 ? alignment_bits / 8 : 1) != 0)
        return gpu_fail(GPU_MISSING, "%s wants buffers at multiples of %u bytes, the network has them at %d",
                        device->name, (unsigned)alignment_bits / 8, GPU_ALIGNMENT_BYTES);
    return 0;
}

static int require_memory(const GpuDevice* device)
{
    static const char* const contents[GPU_REGIONS] = {"the input", "the outputs", "activations", "weights"};
    cl_ulong total = 0;
    for (int i = 0; i < GPU_REGIONS; ++i) {
        const cl_ulong bytes = mnv3c_gpu.region_bytes[i];
        if (bytes > device->max_buffer_bytes)
            return gpu_fail(GPU_MISSING, "%s allows %llu bytes in one buffer, %s take %llu", device->name,
                            (unsigned long long)device->max_buffer_bytes, contents[i], (unsigned long long)bytes);
        total += bytes;
    }
    if (total > device->memory_bytes)
        return gpu_fail(GPU_MISSING, "%s has %llu bytes of memory, the network takes %llu", device->name,
                        (unsigned long long)device->memory_bytes, (unsigned long long)total);
    return 0;
}

static int has_extension(cl_device_id id, const char* wanted)
{
    size_t bytes = 0;
    cl.GetDeviceInfo(id, CL_DEVICE_EXTENSIONS, 0, NULL, &bytes);
    char* names = calloc(bytes + 1, 1);
    int found = 0;
    if (names != NULL && cl.GetDeviceInfo(id, CL_DEVICE_EXTENSIONS, bytes, names, NULL) == CL_SUCCESS)
        for (const char* name = names; *name != '\0' && !found; name += strspn(name, " ")) {
            const size_t length = strcspn(name, " ");
            found = length == strlen(wanted) && strncmp(name, wanted, length) == 0;
            name += length;
        }
    free(names);
    return found;
}

static int require_halves(const GpuDevice* device)
{
    if (!mnv3c_gpu.half_arithmetic || has_extension(device->id, "cl_khr_fp16"))
        return 0;
    return gpu_fail(GPU_UNSUITABLE, "%s has no arithmetic in halves (cl_khr_fp16); compile the network with fp32"
                    " arithmetic", device->name);
}

int gpu_device_find(GpuDevice* device)
{
    cl_platform_id platform;
    if (choose(&platform, &device->id) != 0)
        return -1;
    platform_text(platform, CL_PLATFORM_NAME, device->platform);
    platform_text(platform, CL_PLATFORM_VERSION, device->platform_version);
    device_text(device->id, CL_DEVICE_NAME, device->name);
    device_text(device->id, CL_DEVICE_VENDOR, device->vendor);
    device_text(device->id, CL_DEVICE_VERSION, device->version);
    device_text(device->id, CL_DRIVER_VERSION, device->driver);
    return read_limits(device) != 0 || require_memory(device) != 0 || require_halves(device) != 0 ? -1 : 0;
}
