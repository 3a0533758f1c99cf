/* The device's own binary of the kernels, kept in a file so that only the first start compiles. */
#ifndef MNV3C_GPU_CACHE_H
#define MNV3C_GPU_CACHE_H

#include "gpu_device.h"

/* Memory for free() with the binary for this device, driver and source; NULL where there is none, or where the file is
 * not whole. The folder is $MNV3C_OPENCL_CACHE (empty: no cache), $XDG_CACHE_HOME/mnv3c, $HOME/.cache/mnv3c, or where
 * there is no home, as on Android, /data/local/tmp/mnv3c. */
unsigned char* gpu_cache_read(const GpuDevice* device, size_t* bytes);

/* Keeps a binary, whole or not at all. A cache that cannot be written is no error. */
void gpu_cache_write(const GpuDevice* device, const unsigned char* binary, size_t bytes);

#endif
