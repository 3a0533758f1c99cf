/* How a compiled network tells the OpenCL engine what to run. The compiler prints one `mnv3c_gpu` beside
 * `mnv3c_network` (engine.h), whose layers and calls correspond one to one. */
#ifndef MNV3C_GPU_NETWORK_H
#define MNV3C_GPU_NETWORK_H

#include <stddef.h>
#include <stdint.h>

enum { GPU_ALIGNMENT_BYTES = 1024 }; /* of every offset into a region */

typedef enum { GPU_INPUT, GPU_OUTPUT, GPU_ARENA, GPU_WEIGHTS, GPU_REGIONS } GpuRegion;

/* A part of a region. */
typedef struct {
    GpuRegion region;
    size_t offset_bytes, size_bytes;
} GpuView;

typedef struct {
    const char* name;
    size_t global_size[3];         /* work items */
    size_t local_size[3];          /* the work-group that the compiler chose */
    int movable;                   /* whether any other work-group gives the same results */
    size_t source_offset, source_bytes; /* of this kernel alone in the source, without the preamble */
} GpuKernel;

typedef struct {
    int kernel;
    const int* views; /* one for each parameter of the kernel */
    int view_count;
    int64_t bytes; /* global-memory traffic */
} GpuCall;

typedef struct {
    const GpuKernel* kernels;
    int kernel_count;
    const GpuView* views;
    int view_count;
    const GpuCall* calls;
    size_t region_bytes[GPU_REGIONS];
    const char* storage;       /* fp32 or fp16 */
    int half_arithmetic;       /* whether kernels need the extension cl_khr_fp16 */
    const char* build_options;
    const char* source_digest; /* SHA-256 */
    size_t source_bytes;
    size_t preamble_bytes; /* what stands in the source before the first kernel */
} GpuNetwork;

extern const GpuNetwork mnv3c_gpu;
extern const char mnv3c_source[]; /* not terminated */

#endif
