/* libnet.so: a network compiled by mnv3c.
 *
 * Input, 40 values:
 *   image: float32, 1 x 5 x 8
 * Outputs, one after another in one buffer of 8 values:
 *   first: float32, 1 x 5
 *   second: float32, 3
 *
 * All tensors are dense and row-major. The library has one static memory for activations: it is not re-entrant, so call
 * it from one thread at a time, and not from the child of a fork. It needs nothing but libc and libm.
 */
#ifndef MNV3C_NET_H
#define MNV3C_NET_H

#include <stdint.h>

#define NET_INPUT_ELEMENTS 40
#define NET_OUTPUT_ELEMENTS 8

#ifdef __cplusplus
extern "C" {
#endif

/* Starts the threads that later runs use, the caller's own included, 64 at most; 0 means 1. Returns 0, or -1 with a text
 * in net_last_error(). Without it, runs use the caller's thread alone. */
int net_init(int threads);

/* Changes the number of threads; the same as calling net_init again. */
int net_set_threads(int threads);

/* Runs the network. Buffers of any alignment will do; those aligned to 64 bytes are used in place, others are copied.
 * They must not overlap, and the input must be finite: what a NaN turns into is not defined. Returns 0, or -1 with a text in net_last_error(). */
int net_run(const float* input, float* output);

/* The same, and stores the nanoseconds that each of net_layer_count() layers took. */
int net_run_profiled(const float* input, float* output, uint64_t* layer_ns);

/* Describes the last call that failed; "" as long as none has. Valid until the next failure. */
const char* net_last_error(void);

/* Ends the threads; call it before dlclose. The library can be used again afterwards. */
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
