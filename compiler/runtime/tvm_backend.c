/* What kernels ask of their host: parallel loops and temporary memory. */
#include <stddef.h>
#include <stdlib.h>

#include "pool.h"
#include "tvm_abi.h"

enum { ALIGNMENT_BYTES = 64 };

static void* allocate_workspace(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits)
{
    (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
    void* memory = NULL;
    /* Not aligned_alloc: Android has it only since API level 28. */
    return posix_memalign(&memory, ALIGNMENT_BYTES, bytes > 0 ? bytes : 1) == 0 ? memory : NULL;
}

static int free_workspace(int device_type, int device_id, void* memory)
{
    (void)device_type, (void)device_id;
    free(memory);
    return 0;
}

/* Initialised statically, so that no kernel can ever run before they are set. */
int (*__TVMBackendParallelLaunch)(TVMParallelLambda*, void*, int) = mnv3c_pool_launch;
void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate_workspace;
int (*__TVMBackendFreeWorkspace)(int, int, void*) = free_workspace;
