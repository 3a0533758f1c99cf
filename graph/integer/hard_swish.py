"""HARD_SWISH on int8 as TFLite's reference kernel computes it, in 16-bit fixed point."""

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import INT8_MAX, INT8_MIN, Affine, Int8Array
from mnv3c.graph.integer.fixed_point import Int64Array, Rescale

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
HIGH_RESOLUTION_BITS = 7  # x is worked on in units of its scale / 128
RELUISH_SCALE = np.float32(3.0) / np.float32(32768.0)  # int16 then covers -3..3


def hard_swish(x: Int8Array, input: Affine, output: Affine) -> Int8Array:
    """x * ReLU6(x + 3) / 6 (reference/hard_swish.h); all multipliers have 16 bits and no rounding mode changes it.

    Raises UserError where the output's scale is so fine that TFLite refuses the operator: not above input.scale / 128.
    """
    fine_scale = np.float32(1.0 / 128.0) * np.float32(input.scale)
    output_mantissa, output_shift = _int16_multiplier(fine_scale / np.float32(output.scale))
    reluish_mantissa, reluish_shift = _int16_multiplier(fine_scale / RELUISH_SCALE)
    if output_shift > 0:
        raise UserError(
            f"hswish cannot go from scale {input.scale:g} to {output.scale:g}: the output's must exceed input / 128"
        )
    fine = (x.astype(np.int64) - input.zero_point) << HIGH_RESOLUTION_BITS
    gate = _gate(fine, reluish_mantissa, reluish_shift)
    unshifted = _truncated_high_product(gate, _high_product(fine, output_mantissa))
    # The C++ adds the zero point in int16 before it clamps, and may wrap there.
    moved = (_divide_by_power_of_two(unshifted, -output_shift) + output.zero_point).astype(np.int16)
    return np.clip(moved, INT8_MIN, INT8_MAX).astype(np.int8)


def _gate(fine: Int64Array, mantissa: int, shift: int) -> Int64Array:
    """ReLU6(x + 3) / 6 in Q15: x / 3 saturated to -1..1, moved to 0..1."""
    # One place is left for after the product, whose mantissa is at least one half.
    value = _saturated(fine << (shift - 1)) if shift > 0 else fine
    value = _high_product(value, mantissa)
    value = _saturated(value << 1) if shift > 0 else _divide_by_power_of_two(value, -shift)
    return (value + (1 << 15)) >> 1


def _int16_multiplier(real: np.float32) -> tuple[int, int]:
    by = Rescale.from_real(float(real))
    return min((int(by.mantissas[0]) + (1 << 15)) >> 16, INT16_MAX), int(by.shifts[0])


def _saturated(x: Int64Array) -> Int64Array:
    return np.clip(x, INT16_MIN, INT16_MAX)


def _high_product(a: Int64Array, mantissa: int) -> Int64Array:
    return (a * mantissa + (1 << 14)) >> 15


def _truncated_high_product(a: Int64Array, b: Int64Array) -> Int64Array:
    """SaturatingDoublingHighMul, which truncates towards zero; a is never negative, so nothing saturates."""
    product = a * b
    return np.where(product < 0, -(-product >> 15), product >> 15)


def _divide_by_power_of_two(x: Int64Array, exponent: int) -> Int64Array:
    if exponent == 0:
        return x
    if exponent >= 16:
        # LiteRT's mask of the remainder wraps around in int16: what is left of a number is its sign.
        return np.where(x >= 0, 1, -1)
    return (x + (1 << (exponent - 1)) + (x >> 63)) >> exponent
