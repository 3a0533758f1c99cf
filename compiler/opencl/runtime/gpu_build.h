/* From source, or from the cached binary, to a program that kernels can be made of. */
#ifndef MNV3C_GPU_BUILD_H
#define MNV3C_GPU_BUILD_H

#include "gpu_device.h"

/* Returns the program, or NULL with a text in gpu_last_error(), which for a kernel that does not compile names the
 * kernel and shows the compiler's log. `cached` tells whether it came from the cache. */
cl_program gpu_build(const GpuDevice* device, cl_context context, int* cached);

#endif
