/* What went wrong last, and whose fault it is. */
#ifndef MNV3C_GPU_ERROR_H
#define MNV3C_GPU_ERROR_H

#include "opencl_api.h"

/* The bench's exit statuses. */
typedef enum {
    GPU_FAILED = 1,     /* the driver refuses what it should take */
    GPU_UNSUITABLE = 2, /* the program, or a file of the user's, does not suit this device */
    GPU_MISSING = 3,    /* no OpenCL, no device, not enough of something */
} GpuStatus;

/* Sets the text. Returns -1. */
int gpu_fail(GpuStatus status, const char* format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a function that returned `code`. */
int gpu_fail_call(const char* function, cl_int code);

/* Names the codes that drivers give for reasons of their own; any other is a defect of ours. */
const char* gpu_code_name(cl_int code);

const char* gpu_last_error(void);
GpuStatus gpu_last_status(void);

#endif
