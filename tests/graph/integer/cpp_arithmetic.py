"""TFLite's integer arithmetic written as its C++ is, one number at a time, on integers without a size."""

import math
from fractions import Fraction

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def truncated(numerator: int, denominator: int) -> int:
    """C's integer division."""
    quotient = abs(numerator) // abs(denominator)
    return quotient if (numerator < 0) == (denominator < 0) else -quotient


def saturated(value: int) -> int:
    return min(max(value, INT32_MIN), INT32_MAX)


def quantized_multiplier(real: float) -> tuple[int, int]:
    """QuantizeMultiplier: (mantissa, shift)."""
    fraction, shift = math.frexp(real)
    mantissa = math.floor(Fraction(fraction) * 2**31 + Fraction(1, 2))
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    return (0, 0) if shift < -31 else (mantissa, shift)


def double_rounding(x: int, mantissa: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier without TFLITE_SINGLE_ROUNDING."""
    product = saturated(x << max(shift, 0)) * mantissa
    high = truncated(product + (2**30 if product >= 0 else 1 - 2**30), 2**31)
    return divided_by_power_of_two(high, max(-shift, 0))


def divided_by_power_of_two(x: int, exponent: int) -> int:
    """RoundingDivideByPOT."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


def single_rounding(x: int, mantissa: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier with TFLITE_SINGLE_ROUNDING."""
    return saturated((x * mantissa + (1 << (30 - shift))) >> (31 - shift))


def half_away(value: Fraction) -> int:
    """std::round."""
    whole = int(abs(value) + Fraction(1, 2))
    return -whole if value < 0 else whole
