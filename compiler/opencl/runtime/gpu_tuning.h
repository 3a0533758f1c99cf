/* Work-group sizes that were measured on a device, in a text file:
 *
 *   mnv3c-opencl-tuning/1
 *   source DIGEST
 *   device PLATFORM: NAME, DRIVER
 *   kernel NAME X Y Z
 *   ...
 */
#ifndef MNV3C_GPU_TUNING_H
#define MNV3C_GPU_TUNING_H

#include "gpu_device.h"

/* A kernel's work-group; 0 0 0 leaves it to the driver. */
typedef struct {
    size_t size[3];
} WorkGroup;

/* Fills in the kernels that the file names. Returns 0, or -1 with a text in gpu_last_error(): for a file that cannot be
 * read, that is no such file, or that belongs to another network or device. */
int gpu_tuning_read(const char* path, const GpuDevice* device, WorkGroup* groups);

/* Writes one for each kernel, the file whole or not at all. Returns 0, or -1 with a text in gpu_last_error(). */
int gpu_tuning_write(const char* path, const GpuDevice* device, const WorkGroup* groups);

#endif
