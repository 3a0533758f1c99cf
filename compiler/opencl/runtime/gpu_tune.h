/* Tries work-group sizes on the device itself. */
#ifndef MNV3C_GPU_TUNE_H
#define MNV3C_GPU_TUNE_H

#include "gpu_engine.h"

/* What a kernel's search found. */
typedef struct {
    int tried;            /* how many work-groups the device took */
    uint64_t compiler_ns; /* with the compiler's work-group, 0 where the device does not take it */
    uint64_t best_ns;
} Tuned;

/* Times each kernel, alone, in the compiler's work-group, in one of the driver's choice and in the `tries` possible ones
 * that are nearest to the compiler's, and leaves the best in gpu_work_groups(). `found` has an entry for each kernel. The
 * buffers must hold a run's activations already. Returns 0, or -1 with a text in gpu_last_error(). */
int gpu_tune(int tries, Tuned* found);

#endif
