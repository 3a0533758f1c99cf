/* Runs a network through OpenCL: the functions of engine.h, and what the bench needs besides. One run at a time. */
#ifndef MNV3C_GPU_ENGINE_H
#define MNV3C_GPU_ENGINE_H

#include "gpu_device.h"
#include "gpu_network.h"
#include "gpu_tuning.h"

/* Nanoseconds on the device, by its own clock. `layers` has one entry for each layer. */
typedef struct {
    uint64_t write_ns, read_ns;
    uint64_t* layers;
} GpuTimes;

/* How the start went: whether the kernels came from the cache, and how long compiling or reading them took. */
typedef struct {
    int cached;
    uint64_t build_ns;
} GpuStart;

/* These return 0, or -1 with a text in gpu_last_error(). */

/* Finds the device, compiles the kernels, uploads the weights. Does nothing when that is done already. */
int gpu_open(void);

/* Takes work-groups from a file of --tune. */
int gpu_take_tuning(const char* path);

/* Whether the device can run each kernel in its work-group. */
int gpu_require_work_groups(void);

/* `times` may be NULL: the device measures nothing then. */
int gpu_run(const float* input, float* output, GpuTimes* times);

/* Runs the first layer of a kernel by itself, in any work-group. */
int gpu_time_kernel(int kernel, const WorkGroup* group, uint64_t* ns);

/* What the device allows for this kernel. */
int gpu_kernel_limit(int kernel, size_t* work_items);

/* All of these: after gpu_open. */
const GpuDevice* gpu_device(void);
GpuStart gpu_start(void);
WorkGroup* gpu_work_groups(void);

#endif
