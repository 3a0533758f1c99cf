"""Rescaling int32 accumulators by real multipliers, in the three arithmetics that a network can name.

gemmlowp_double  TFLite's MultiplyByQuantizedMultiplier with two roundings (tensorflow/lite/kernels/internal/common.h,
                 after gemmlowp/fixedpoint/fixedpoint.h): the high half of the doubled product, ties upwards, then a
                 division by a power of two, ties away from zero. LiteRT's reference kernels are built so.
single           The same with TFLITE_SINGLE_ROUNDING: one rounding of the 64-bit product, ties upwards. No kernel of
                 LiteRT 2.3.0's Python package computes so; devices and other builds do.
float32_rne      XNNPACK's: float32(accumulator) * float32(multiplier), rounded to the nearest integer, ties to even.
                 What LiteRT's interpreter computes by default.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnv3c.graph.integer.affine import Int32Array, Scales
from mnv3c.graph.integer.ops import Rounding

Int64Array = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, eq=False)
class Rescale:
    """Real multipliers in two encodings: mantissas * 2 ** (shifts - 31), and float32.

    mantissas: int64 (n,) in 0 .. 2 ** 31 - 1; shifts: int64 (n,), positive to the left, not below -31;
    float32_scales: (n,). n is 1 or the number of channels, so that all broadcast against (..., channels).
    """

    mantissas: Int64Array
    shifts: Int64Array
    float32_scales: Scales

    @classmethod
    def from_real(cls, multipliers: float | Reals, float32_scales: Scales | None = None) -> "Rescale":
        """TFLite's QuantizeMultiplier of each multiplier; all must be finite and not negative.

        Mantissas are of 31 bits, and 0 where the multiplier is below 2 ** -32.

        `float32_scales` are given where XNNPACK's own order of float32 operations may differ from a rounding of
        `multipliers` in the last bit.
        """
        reals = np.atleast_1d(np.asarray(multipliers, np.float64))
        fractions, exponents = np.frexp(reals)
        mantissas = np.floor(fractions * 2.0**31 + 0.5).astype(np.int64)
        shifts = exponents.astype(np.int64)
        full = mantissas == 2**31
        mantissas, shifts = np.where(full, 2**30, mantissas), np.where(full, shifts + 1, shifts)
        vanishing = shifts < -31
        scales = reals.astype(np.float32) if float32_scales is None else np.atleast_1d(float32_scales)
        return cls(np.where(vanishing, 0, mantissas), np.where(vanishing, 0, shifts), scales)


def rescale(accumulators: Int32Array, by: Rescale, rounding: Rounding) -> Int32Array:
    """Each accumulator times its channel's multiplier, rounded to an integer; shape (..., channels).

    What a left shift drives out of int32 is saturated; TFLite's C++ overflows there.
    """
    match rounding:
        case "gemmlowp_double":
            return multiply_double_rounding(accumulators, by.mantissas, by.shifts)
        case "single":
            return multiply_single_rounding(accumulators, by.mantissas, by.shifts)
        case "float32_rne":
            return _nearest_even(accumulators, by.float32_scales)


def multiply_double_rounding(x: Int32Array, mantissas: Int64Array, shifts: Int64Array) -> Int32Array:
    """gemmlowp's RoundingDivideByPOT(SaturatingRoundingDoublingHighMul(x << left, mantissa), right)."""
    wide = _shifted_left(x, shifts)
    # The C++ nudges by the product's sign and truncates; with a mantissa that is not negative this is the same.
    wide *= mantissas
    wide += 1 << 30
    wide >>= 31
    return _divide_by_power_of_two(wide, np.maximum(-shifts, 0)).astype(np.int32)


def multiply_single_rounding(x: Int32Array, mantissas: Int64Array, shifts: Int64Array) -> Int32Array:
    """(x * mantissa + half) >> (31 - shift), shifts above 30 saturated to 30 with the largest mantissa."""
    too_large = shifts > 30
    right = 31 - np.minimum(shifts, 30)
    wide = x * np.where(too_large, INT32_MAX, mantissas)
    wide += np.left_shift(np.int64(1), right - 1)
    wide >>= right
    return np.clip(wide, INT32_MIN, INT32_MAX, out=wide).astype(np.int32)


def rounding_divide_by_power_of_two(x: Int32Array, exponent: int) -> Int32Array:
    """gemmlowp's RoundingDivideByPOT: x / 2 ** exponent, ties away from zero."""
    return _divide_by_power_of_two(x.astype(np.int64), np.array([exponent], np.int64)).astype(np.int32)


def round_half_away(values: Reals) -> Reals:
    """std::round: the nearest integer, ties away from zero."""
    magnitude = np.abs(values)
    whole = np.floor(magnitude)
    # Adding one half first would round 0.49999999999999994 up to one.
    return np.asarray(np.copysign(whole + (magnitude - whole >= 0.5), values), np.float64)


def divide_half_away(numerators: Int64Array, denominators: Int64Array | Int32Array | int) -> Int64Array:
    """The nearest integer to a quotient with a positive denominator, ties away from zero, as TFLite's average pools.

    With an odd denominator d the C++ adds (d - 1) / 2 before it truncates, which is the nearest integer as well.
    """
    magnitude = (np.abs(numerators) + denominators // 2) // denominators
    return np.asarray(np.where(numerators < 0, -magnitude, magnitude), np.int64)


def _shifted_left(x: Int32Array, shifts: Int64Array) -> Int64Array:
    wide = x.astype(np.int64)
    if np.any(shifts > 0):
        # |x| <= 2**31, so 32 places at most keep it inside int64.
        np.left_shift(wide, np.clip(shifts, 0, 31), out=wide)
        np.clip(wide, INT32_MIN, INT32_MAX, out=wide)
    return wide


def _divide_by_power_of_two(wide: Int64Array, exponents: Int64Array) -> Int64Array:
    half = np.left_shift(np.int64(1), exponents) >> 1
    # Floor(x + half) takes ties upwards; one less for negative x takes them away from zero.
    wide += half + np.where(exponents > 0, wide >> 63, 0)
    wide >>= exponents
    return wide


def _nearest_even(accumulators: Int32Array, scales: Scales) -> Int32Array:
    product = accumulators.astype(np.float32)
    product *= scales
    np.rint(product, out=product)
    # 2**31 - 128 is the largest float32 inside int32.
    return np.clip(product, np.float32(INT32_MIN), np.float32(2**31 - 128)).astype(np.int32)
