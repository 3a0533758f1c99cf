/* The device that runs the network. */
#ifndef MNV3C_GPU_DEVICE_H
#define MNV3C_GPU_DEVICE_H

#include "opencl_api.h"

enum { GPU_NAME_BYTES = 128 };

typedef struct {
    cl_device_id id;
    /* Printable ASCII. */
    char name[GPU_NAME_BYTES], vendor[GPU_NAME_BYTES], version[GPU_NAME_BYTES], driver[GPU_NAME_BYTES];
    char platform[GPU_NAME_BYTES], platform_version[GPU_NAME_BYTES];
    size_t max_work_group, max_work_items[3];
    cl_ulong max_buffer_bytes, memory_bytes, local_memory_bytes;
} GpuDevice;

/* Takes the first GPU, or where there is none the first device of any kind. $MNV3C_OPENCL_DEVICE, a part of
 * "platform: device", restricts the choice. Returns 0, or -1 with a text in gpu_last_error(): also for a device whose
 * memory is too small for the network. */
int gpu_device_find(GpuDevice* device);

#endif
