#include "opencl_loader.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_error.h"

OpenCl cl;

/* The ICD loader's names, then where Android's vendors put theirs: the list that TVM (src/runtime/opencl/
 * opencl_wrapper/opencl_wrapper.cc) and Arm's Compute Library (src/core/CL/OpenCL.cpp) try, for 64-bit systems. */
static const char* const usual[] = {
    "libOpenCL.so",
    "libOpenCL.so.1",
    "/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "/system/lib64/libOpenCL.so",
    "libOpenCL-pixel.so",
    "/vendor/lib64/libOpenCL-pixel.so",
    "libmali.so",
    "libGLES_mali.so",
    "/vendor/lib64/egl/libGLES_mali.so",
    "/system/vendor/lib64/egl/libGLES_mali.so",
    "/vendor/lib64/libPVROCL.so",
    "/system/vendor/lib64/libPVROCL.so",
};

/* Returns the first function that the library lacks, NULL if it has all. */
static const char* fill(OpenCl* functions, void* library)
{
    void* address;
#define FILL(result, name, parameters)             \
    address = dlsym(library, "cl" #name);          \
    if (address == NULL)                           \
        return "cl" #name;                         \
    memcpy(&functions->name, &address, sizeof(address));
    OPENCL_FUNCTIONS(FILL)
#undef FILL
    return NULL;
}

static int load_wanted(OpenCl* functions, const char* wanted)
{
    void* library = dlopen(wanted, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return gpu_fail(GPU_MISSING, "no OpenCL found: MNV3C_OPENCL is %s, which cannot be opened", wanted);
    const char* lacking = fill(functions, library);
    if (lacking != NULL)
        return gpu_fail(GPU_MISSING, "no OpenCL found: MNV3C_OPENCL is %s, which has no %s", wanted, lacking);
    return 0;
}

static int load_usual(OpenCl* functions)
{
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); ++i) {
        void* library = dlopen(usual[i], RTLD_NOW | RTLD_LOCAL);
        if (library != NULL && fill(functions, library) == NULL)
            return 0;
        if (library != NULL)
            dlclose(library);
    }
    return gpu_fail(GPU_MISSING, "no OpenCL found: no libOpenCL.so on this system, and MNV3C_OPENCL names none");
}

int opencl_load(void)
{
    if (cl.ReleaseEvent != NULL)
        return 0;
    OpenCl functions;
    const char* wanted = getenv("MNV3C_OPENCL");
    if ((wanted != NULL && *wanted != '\0' ? load_wanted(&functions, wanted) : load_usual(&functions)) != 0)
        return -1;
    cl = functions;
    return 0;
}
