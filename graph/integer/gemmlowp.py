"""gemmlowp's functions on int32 fixed point (gemmlowp/fixedpoint/fixedpoint.h) that TFLite's reference SOFTMAX uses.

A value with n integer bits is raw * 2 ** (n - 31). Arrays are int64 that hold int32 values.
"""

import numpy as np

from mnv3c.graph.integer.fixed_point import INT32_MAX, INT32_MIN, Int64Array

# exp(-2 ** e) in Q31 for e = -2 .. 4, from exp_on_negative_values.
EXP_OF_NEGATIVE_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
EXP_OF_MINUS_EIGHTH = 1895147668  # exp(-1 / 8) in Q31
ONE_THIRD = 715827883  # in Q31
FORTY_EIGHT_SEVENTEENTHS, MINUS_THIRTY_TWO_SEVENTEENTHS = 1515870810, -1010580540  # in Q29


def high_product(a: Int64Array, b: Int64Array | int) -> Int64Array:
    """SaturatingRoundingDoublingHighMul: the product of two fixed-point values, whose integer bits add up."""
    # Only INT32_MIN squared overflows; none of the functions here forms it.
    return np.asarray((a * b + (1 << 30)) >> 31, np.int64)


def scale_by_power_of_two(x: Int64Array, exponent: int) -> Int64Array:
    """SaturatingRoundingMultiplyByPOT: saturates to the left, rounds ties away from zero to the right."""
    if exponent >= 0:
        return np.asarray(np.clip(x << exponent, INT32_MIN, INT32_MAX), np.int64)
    half = 1 << (-exponent - 1)
    return (x + half + (x >> 63)) >> -exponent


def exp_on_negative_values(a: Int64Array, integer_bits: int) -> Int64Array:
    """exp(a) in Q31 for a <= 0 with up to 5 integer bits: a Taylor series on [-1/4, 0) and a product per set bit."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    part = (a & (quarter - 1)) - quarter
    result = _exp_near_minus_eighth(scale_by_power_of_two(part, integer_bits))
    remainder = part - a
    for exponent, factor in enumerate(EXP_OF_NEGATIVE_POWERS, start=-2):
        if exponent < integer_bits:
            bit = (remainder & (1 << (fraction_bits + exponent))) != 0
            result = np.where(bit, high_product(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def one_over_one_plus(a: Int64Array) -> Int64Array:
    """1 / (1 + a) in Q31 for a in [0, 1) in Q31: three Newton-Raphson steps."""
    # RoundingHalfSum with One; the sum is never negative here.
    half_denominator = (a + INT32_MAX + 1) >> 1
    x = FORTY_EIGHT_SEVENTEENTHS + high_product(half_denominator, MINUS_THIRTY_TWO_SEVENTEENTHS)
    for _ in range(3):
        rest = (1 << 29) - high_product(half_denominator, x)
        x = x + scale_by_power_of_two(high_product(x, rest), 2)
    return scale_by_power_of_two(x, 1)


def reciprocal(x: Int64Array, integer_bits: int) -> tuple[Int64Array, Int64Array]:
    """TFLite's GetReciprocal of positive values: (Q31 mantissas, numbers of bits above one)."""
    leading_zeros = 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)
    fraction = (x << leading_zeros) - (1 << 31)
    return one_over_one_plus(fraction), integer_bits - leading_zeros


def _exp_near_minus_eighth(a: Int64Array) -> Int64Array:
    """exp(a) for a in [-1/4, 0), all in Q31."""
    x = a + (1 << 28)
    x2 = high_product(x, x)
    x3 = high_product(x2, x)
    x4_over_4 = scale_by_power_of_two(high_product(x2, x2), -2)
    tail = scale_by_power_of_two(high_product(x4_over_4 + x3, ONE_THIRD) + x2, -1)
    return EXP_OF_MINUS_EIGHTH + high_product(x + tail, EXP_OF_MINUS_EIGHTH)
