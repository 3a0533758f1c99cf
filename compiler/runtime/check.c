#include "check.h"

#include <math.h>

/* Output `index` of SplitMix64 (Steele, Lea, Flood, 2014) started at `seed`. compiler/check_input.py is its twin. */
static uint64_t splitmix64(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void mnv3c_check_input(float* values, uint64_t count, uint64_t seed)
{
    /* 24 bits fill a float's significand, so each step here is exact. */
    for (uint64_t i = 0; i < count; ++i)
        values[i] = (float)((int32_t)(splitmix64(seed, i) >> 40) - (1 << 23)) / (1 << 23);
}

/* Unlike fmax, keeps a NaN once it has met one. */
static double larger(double a, double b)
{
    return isnan(a) || a > b ? a : b;
}

Deviation mnv3c_compare(const float* values, const float* reference, uint64_t count)
{
    Deviation result = {0, 0, 0};
    for (uint64_t i = 0; i < count; ++i) {
        result.max_abs_error = larger(result.max_abs_error, fabs((double)values[i] - (double)reference[i]));
        result.max_abs_reference = larger(result.max_abs_reference, fabs((double)reference[i]));
    }
    const int scaled = result.max_abs_reference != 0;
    result.relative_error = scaled ? result.max_abs_error / result.max_abs_reference : result.max_abs_error;
    return result;
}
