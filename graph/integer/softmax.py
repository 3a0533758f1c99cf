"""SOFTMAX on int8 as TFLite's reference kernel computes it (reference/softmax.h), in gemmlowp's fixed point."""

import numpy as np

from mnv3c.graph.integer.affine import INT8_MAX, INT8_MIN, Int8Array
from mnv3c.graph.integer.fixed_point import Rescale
from mnv3c.graph.integer.gemmlowp import exp_on_negative_values, high_product, reciprocal, scale_by_power_of_two
from mnv3c.graph.integer.ops import IntegerSoftmax

DIFFERENCE_INTEGER_BITS = 5  # kScaledDiffIntegerBits
SUM_INTEGER_BITS = 12  # kAccumulationIntegerBits


def softmax(step: IntegerSoftmax, x: Int8Array) -> Int8Array:
    """Softmax over the last axis; the output's scale is 1/256 and its zero point -128. No rounding mode changes it.

    LiteRT aborts the process where the exponentials, relative to the largest, sum to 512 or more (it would shift an
    int32 by 32 places); here such flat rows are computed as the formula says.
    """
    difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    by = Rescale.from_real(min(step.input.scale * 2.0 ** (31 - DIFFERENCE_INTEGER_BITS), 2.0**31 - 1))
    mantissa, shift = int(by.mantissas[0]), int(by.shifts[0])
    # Differences beyond this radius would overflow, and their exponentials vanish.
    radius = ((1 << DIFFERENCE_INTEGER_BITS) - 1) << (31 - DIFFERENCE_INTEGER_BITS) >> shift
    counted = difference >= -radius
    scaled = high_product(np.where(counted, difference, 0) << shift, mantissa)
    exponentials = exp_on_negative_values(scaled, DIFFERENCE_INTEGER_BITS)
    terms = np.where(counted, scale_by_power_of_two(exponentials, -SUM_INTEGER_BITS), 0)
    inverse, bits_over_one = reciprocal(terms.sum(axis=-1, keepdims=True), SUM_INTEGER_BITS)
    shares = high_product(exponentials, inverse)
    places = bits_over_one + 31 - 8
    # Shares are not negative, so ties away from zero are ties upwards.
    rounded = (shares + (np.int64(1) << (places - 1))) >> places
    out = np.clip(rounded + INT8_MIN, INT8_MIN, INT8_MAX)
    return np.where(counted, out, INT8_MIN).astype(np.int8)
