/* What the engine holds between runs; of no concern outside gpu_*.c. */
#ifndef MNV3C_GPU_STATE_H
#define MNV3C_GPU_STATE_H

#include "gpu_engine.h"

typedef struct {
    int open;
    GpuDevice device;
    GpuStart start;
    cl_context context;
    cl_command_queue queue;
    cl_command_queue timed_queue; /* some drivers are slower when they measure, so it is made on demand */
    cl_mem regions[GPU_REGIONS];
    cl_mem* views;
    cl_kernel* layers; /* one object for each layer: its arguments are set once */
    cl_event* events;  /* of a run: one write, the layers, the outputs */
    WorkGroup* groups;
} GpuState;

extern GpuState gpu;

/* The first layer that a kernel computes. */
int gpu_layer_of(int kernel);

/* How many events a timed run has. */
int gpu_event_count(void);

/* Makes a queue. Returns 0, or -1 with a text in gpu_last_error(). */
int gpu_make_queue(cl_bitfield properties, cl_command_queue* queue);

#endif
