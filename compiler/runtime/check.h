/* The built-in input of the bench and the outputs it must lead to. */
#ifndef MNV3C_CHECK_H
#define MNV3C_CHECK_H

#include <stdint.h>

extern const float mnv3c_reference[]; /* all outputs, one after another */
extern const uint64_t mnv3c_check_seed;
extern const double mnv3c_check_tolerance; /* of max_abs_error / max_abs_reference, for each output */

/* Fills `values` with numbers uniform in [-1, 1); number i depends on nothing but the seed and i. */
void mnv3c_check_input(float* values, uint64_t count, uint64_t seed);

typedef struct {
    double max_abs_error;
    double max_abs_reference;
    double relative_error; /* the absolute error where the reference is all zeros; NaN when anything is NaN */
} Deviation;

Deviation mnv3c_compare(const float* values, const float* reference, uint64_t count);

#endif
