/* libnet.so: a network compiled by mnv3c, which runs through OpenCL.
 *
 * Input, 40 values:
 *   image: float32, 1 x 5 x 8
 * Outputs, one after another in one buffer of 11 values:
 *   first: float32, 1 x 8
 *   second: float32, 3
 *
 * All tensors are dense and row-major, in the host's memory. The library has one device and one memory: it is not
 * re-entrant, so call it from one thread at a time, and not from the child of a fork. It opens the system's OpenCL when
 * it is first used; the environment may say which: MNV3C_OPENCL (the library to open), MNV3C_OPENCL_DEVICE (part of a
 * device's name), MNV3C_OPENCL_TUNING (work-group sizes that net-bench --tune kept) and MNV3C_OPENCL_CACHE (the
 * folder that keeps compiled kernels; empty: none).
 */
#ifndef MNV3C_NET_H
#define MNV3C_NET_H

#include <stdint.h>

#define NET_INPUT_ELEMENTS 40
#define NET_OUTPUT_ELEMENTS 11

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the device, compiles the kernels, or takes them from the cache, and uploads the weights, which otherwise the
 * first run does. `threads` means nothing here; it is there so that libraries for any processor are used alike. Returns
 * 0, or -1 with a text in net_last_error(). */
int net_init(int threads);

/* The same as net_init. */
int net_set_threads(int threads);

/* Runs the network, and returns when the outputs are there. The input must be finite. Returns 0, or -1 with a text in
 * net_last_error(). */
int net_run(const float* input, float* output);

/* The same, and stores the nanoseconds that each of net_layer_count() kernels took by the device's clock. */
int net_run_profiled(const float* input, float* output, uint64_t* layer_ns);

/* Describes the last call that failed; "" as long as none has. Valid until the next failure. */
const char* net_last_error(void);

/* Gives the device's memory back. The library can be used again afterwards, but not be unloaded: drivers stay. */
void net_shutdown(void);

/* The _shape functions point *shape to the extents and return the rank; -1 or NULL where `index` is out of range. */
const char* net_input_name(void);
int net_input_rank(void);
int net_input_shape(const int64_t** shape);

int net_output_count(void);
const char* net_output_name(int index);
int net_output_rank(int index);
int net_output_shape(int index, const int64_t** shape);

int net_layer_count(void);
const char* net_layer_name(int index);
const char* net_layer_kind(int index);
const char* net_layer_shape(int index);
int64_t net_layer_macs(int index); /* multiply-accumulates */

#ifdef __cplusplus
}
#endif

#endif
