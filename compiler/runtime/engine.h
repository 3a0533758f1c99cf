/* How a compiled network is described to the engine, and the engine that runs it.
 *
 * The compiler prints one `mnv3c_network` per network: static tables and nothing else. The engine walks them. Static
 * memory only, one run at a time.
 */
#ifndef MNV3C_ENGINE_H
#define MNV3C_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "tvm_abi.h"

enum { MNV3C_ALIGNMENT_BYTES = 64 };

/* A dense row-major float32 tensor as the caller sees it. */
typedef struct {
    const char* name;
    int rank;
    const int64_t* shape;
    uint64_t elements;
    uint64_t offset_bytes;      /* where it starts in the caller's buffer */
    uint64_t copy_offset_bytes; /* where it starts in the aligned copy of that buffer */
} Port;

/* A tensor inside the caller's input or output, bound to an address by each run. `offset_bytes` counts in the aligned
 * copy. */
typedef struct {
    uint64_t offset_bytes;
    DLTensor tensor;
} View;

typedef struct {
    const char* name;
    const char* kind;
    const char* shape;
    int64_t macs;
    TVMKernel* kernel;
    const TVMFFIAny* arguments;
    int32_t argument_count;
} Layer;

typedef struct {
    const char* name;
    Port input;
    const Port* outputs;
    int output_count;
    /* Whether every output starts on a 64-byte boundary of the caller's buffer, as kernels require. */
    int outputs_aligned;
    View* input_views;
    int input_view_count;
    View* output_views;
    int output_view_count;
    /* Aligned stand-ins for caller's buffers that are not. */
    unsigned char* input_copy;
    unsigned char* output_copy;
    int tiles; /* whether kernels use the tile registers of x86_64 */
    const Layer* layers;
    int layer_count;
} Network;

extern const Network mnv3c_network;
extern const unsigned char mnv3c_weights[]; /* the constants, in .rodata */

/* Initialisers for the tables: `elements` floats (or halves) at `address`, and a kernel's argument that points to them. */
#define MNV3C_FLOATS(address, elements) MNV3C_TENSOR(address, elements, 32)
#define MNV3C_TENSOR(address, elements, bits)                                                                       \
    {                                                                                                               \
        .data = (void*)(address), .device = {1, 0}, .ndim = 1, .dtype = {2, bits, 1},                               \
        .shape = (int64_t[]){elements}, .strides = (int64_t[]){1}, .byte_offset = 0                                 \
    }
#define MNV3C_ARGUMENT(tensor) {TVM_FFI_DLTENSOR_POINTER, 0, {.pointer = (tensor)}}
#define MNV3C_BUFFER(address, elements) MNV3C_ARGUMENT((&(DLTensor)MNV3C_FLOATS(address, elements)))
#define MNV3C_HALVES(address, elements) MNV3C_ARGUMENT((&(DLTensor)MNV3C_TENSOR(address, elements, 16)))

/* These return 0, or -1 with a text in mnv3c_engine_last_error(). `threads` 0 means 1. */
int mnv3c_engine_set_threads(int threads);
int mnv3c_engine_run(const float* input, float* output, uint64_t* layer_ns); /* `layer_ns` may be NULL: no timing */
const char* mnv3c_engine_last_error(void);
void mnv3c_engine_shutdown(void);

/* NULL where `index` is out of range. */
const Port* mnv3c_engine_output(int index);
const Layer* mnv3c_engine_layer(int index);

#endif
