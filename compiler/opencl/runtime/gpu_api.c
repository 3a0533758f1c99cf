/* What NAME.h offers, by the functions that functions.c.in calls. */
#include <stdlib.h>

#include "engine.h"
#include "gpu_engine.h"
#include "gpu_error.h"

/* $MNV3C_OPENCL_TUNING names a file of --tune. */
static int start(void)
{
    if (gpu_work_groups() != NULL)
        return 0;
    if (gpu_open() != 0)
        return -1;
    const char* tuning = getenv("MNV3C_OPENCL_TUNING");
    if ((tuning == NULL || *tuning == '\0' || gpu_take_tuning(tuning) == 0) && gpu_require_work_groups() == 0)
        return 0;
    mnv3c_engine_shutdown();
    return -1;
}

int mnv3c_engine_set_threads(int threads)
{
    (void)threads; /* the device has its own */
    return start();
}

int mnv3c_engine_run(const float* input, float* output, uint64_t* layer_ns)
{
    if (input == NULL || output == NULL)
        return gpu_fail(GPU_UNSUITABLE, "the input and the output must not be NULL");
    if (start() != 0)
        return -1;
    GpuTimes times = {.layers = layer_ns};
    return gpu_run(input, output, layer_ns != NULL ? &times : NULL);
}

const char* mnv3c_engine_last_error(void)
{
    return gpu_last_error();
}
