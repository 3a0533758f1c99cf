/* Stands before a real OpenCL and makes its device smaller: a bound from the environment for each limit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int32_t GetDeviceInfo(void* device, uint32_t what, size_t bytes, void* value, size_t* size);

static const struct {
    uint32_t what;
    const char* variable;
    size_t bytes;
} limits[] = {
    {0x1010, "SMALL_BUFFER_BYTES", 8}, {0x101F, "SMALL_MEMORY_BYTES", 8}, {0x1023, "SMALL_LOCAL_BYTES", 8},
    {0x1004, "SMALL_WORK_GROUP", 8},   {0x1019, "SMALL_ALIGNMENT_BITS", 4}, {0x1005, "SMALL_WORK_ITEMS_X", 8},
};

int32_t clGetDeviceInfo(void* device, uint32_t what, size_t bytes, void* value, size_t* size)
{
    GetDeviceInfo* real;
    *(void**)&real = dlsym(RTLD_NEXT, "clGetDeviceInfo");
    const int32_t code = real(device, what, bytes, value, size);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); ++i) {
        const char* text = getenv(limits[i].variable);
        if (limits[i].what == what && text != NULL && value != NULL) {
            const uint64_t limit = strtoull(text, NULL, 10); /* little-endian */
            memcpy(value, &limit, limits[i].bytes);
        }
    }
    const char* extensions = getenv("SMALL_EXTENSIONS");
    if (what == 0x1030 && extensions != NULL) {
        if (size != NULL)
            *size = strlen(extensions) + 1;
        if (value != NULL)
            strcpy(value, extensions);
    }
    return code;
}
