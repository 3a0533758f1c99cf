/* The part of TVM's binary interface that a compiled kernel sees.
 *
 * Kernels are called as `kernel(self, arguments, count, result)`, each argument a 16-byte TVMFFIAny that points to a
 * DLTensor (DLPack 1.x layout). These declarations match apache-tvm 0.27; nothing else of TVM is needed at run time.
 */
#ifndef MNV3C_TVM_ABI_H
#define MNV3C_TVM_ABI_H

#include <stdint.h>

typedef struct {
    int32_t device_type; /* 1 = CPU */
    int32_t device_id;
} DLDevice;

typedef struct {
    uint8_t code; /* 2 = floating point */
    uint8_t bits;
    uint16_t lanes;
} DLDataType;

typedef struct {
    void* data; /* kernels require 64-byte alignment */
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t* shape;
    int64_t* strides; /* in elements */
    uint64_t byte_offset;
} DLTensor;

enum { TVM_FFI_NONE = 0, TVM_FFI_DLTENSOR_POINTER = 7 };

typedef struct {
    int32_t type_index;
    int32_t padding;
    union {
        void* pointer;
        int64_t integer;
        double real;
    } value;
} TVMFFIAny;

/* Returns 0, or non-zero when the kernel failed. */
typedef int32_t TVMKernel(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result);

typedef struct {
    void* sync_handle;
    int32_t num_task; /* into how many tasks the loop is cut */
} TVMParallelGroupEnv;

/* One task of a parallel loop. Returns 0, or non-zero when it failed. */
typedef int TVMParallelLambda(int task_id, TVMParallelGroupEnv* env, void* closure);

/* Kernels reach their host through these pointers, which they define weakly and as NULL. tvm_backend.c defines them for
 * good, so every kernel in the same link uses ours. */
extern int (*__TVMBackendParallelLaunch)(TVMParallelLambda* lambda, void* closure, int num_task);
extern void* (*__TVMBackendAllocWorkspace)(int device_type, int device_id, uint64_t bytes, int dtype_code,
                                           int dtype_bits);
extern int (*__TVMBackendFreeWorkspace)(int device_type, int device_id, void* memory);

_Static_assert(sizeof(TVMFFIAny) == 16, "TVMFFIAny is 16 bytes on every 64-bit processor");
_Static_assert(sizeof(DLTensor) == 48, "DLTensor is 48 bytes on every 64-bit processor");

#endif
