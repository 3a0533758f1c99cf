"""The elementwise parts of integer steps, on tensors or tiles of any shape whose last axis is channels."""

from dataclasses import replace

import numpy as np

from mnv3c.graph.integer.affine import INT8_MAX, INT8_MIN, Affine, Int8Array, Int32Array
from mnv3c.graph.integer.fixed_point import INT32_MAX, INT32_MIN, Int64Array, Reals, Rescale, rescale, round_half_away
from mnv3c.graph.integer.ops import Clamp, ElementProduct, Mean, Product, Rounding, Sum
from mnv3c.graph.ops import Dense

ALL_CHANNELS = slice(None)
ADD_LEFT_SHIFT = 20  # tensorflow/lite/kernels/add.cc


def saturate(values: Int32Array | Int64Array, affine: Affine, clamp: Clamp) -> Int8Array:
    """Moves integers in units of the output's scale to its zero point and clamps them."""
    # Clamped first: the zero point could carry a saturated value out of int32.
    inside = np.clip(values, clamp.low - affine.zero_point, clamp.high - affine.zero_point).astype(np.int16)
    return (inside + np.int16(affine.zero_point)).astype(np.int8)


def requantize(
    step: Product, accumulators: Int32Array, rounding: Rounding, channels: slice = ALL_CHANNELS
) -> Int8Array:
    """The int8 outputs from accumulators (..., channels) that hold bias and zero-point correction already.

    `channels` says which of the step's output channels the last axis is. Under gemmlowp_double a dense layer is
    rounded once, ties away from zero, from a product in float64: LiteRT 2.3.0's reference FULLY_CONNECTED does that,
    while its CONV_2D and DEPTHWISE_CONV_2D round twice.
    """
    weight_scales = step.weight_scales[channels]
    multipliers: Reals = step.input.scale * weight_scales.astype(np.float64) / step.output.scale
    if isinstance(step.op, Dense) and rounding == "gemmlowp_double":
        rounded = np.clip(round_half_away(accumulators * multipliers), INT32_MIN, INT32_MAX)
        return saturate(rounded.astype(np.int64), step.output, step.clamp)
    # XNNPACK multiplies and divides the scales in float32.
    float32_scales = np.float32(step.input.scale) * weight_scales / np.float32(step.output.scale)
    by = Rescale.from_real(multipliers, float32_scales)
    return saturate(rescale(accumulators, by, rounding), step.output, step.clamp)


def look_up(table: Int8Array, x: Int8Array) -> Int8Array:
    """table[x + 128] for a table of 256 entries."""
    by_bits = np.roll(table, 128)
    return np.asarray(by_bits[x.view(np.uint8)], np.int8)


def add(step: Sum, x: Int8Array, other: Int8Array, rounding: Rounding) -> Int8Array:
    """x + other, broadcast.

    The two TFLite roundings differ in each of the three rescalings. Under float32_rne it is XNNPACK's integer VADD
    instead, where XNNPACK takes the scales.
    """
    if rounding == "float32_rne":
        if all(_within(-10, affine.scale / step.output.scale) for affine in (step.input, step.other)):
            return _add_xnnpack(step, x, other)
        rounding = "gemmlowp_double"
    twice_scale = 2.0 * max(step.input.scale, step.other.scale)
    # A rescaled operand depends on its int8 value alone: 256 rescalings instead of one per element.
    terms = _shifted_terms(step.input, twice_scale, rounding)[x.view(np.uint8)]
    terms = terms + _shifted_terms(step.other, twice_scale, rounding)[other.view(np.uint8)]
    by = Rescale.from_real(twice_scale / (2.0**ADD_LEFT_SHIFT * step.output.scale))
    return saturate(rescale(terms, by, rounding), step.output, step.clamp)


def multiply(step: ElementProduct, x: Int8Array, other: Int8Array, rounding: Rounding) -> Int8Array:
    """x * other, broadcast. The multiplier is a float32 expression in TFLite (mul.cc) and in XNNPACK alike."""
    scale = np.float32(step.input.scale) * np.float32(step.other.scale) / np.float32(step.output.scale)
    if rounding == "float32_rne" and not _within(-16, float(scale)):
        rounding = "gemmlowp_double"
    product = (x.astype(np.int32) - step.input.zero_point) * (other.astype(np.int32) - step.other.zero_point)
    return saturate(rescale(product, Rescale.from_real(float(scale)), rounding), step.output, step.clamp)


def mean_from_sums(step: Mean, sums: Int32Array, count: int, rounding: Rounding) -> Int8Array:
    """Means of `count` int8 values each, from their plain sums (zero points still in them)."""
    if rounding == "float32_rne":
        return _mean_xnnpack(step, sums, count)
    centred = sums - np.int32(count * step.input.zero_point)
    return saturate(rescale(centred, _mean_multiplier(step, count), rounding), step.output, Clamp())


def _mean_multiplier(step: Mean, count: int) -> Rescale:
    """TFLite folds 1 / count into the integer multiplier, rounding it down (reference/reduce.h, QuantizedMeanOrSum)."""
    whole = Rescale.from_real(step.input.scale / step.output.scale)
    mantissa, shift = int(whole.mantissas[0]), int(whole.shifts[0])
    places = min(count.bit_length() - 1, 32, 31 + shift)
    folded = np.array([(mantissa << places) // count], np.int64)
    return replace(whole, mantissas=folded, shifts=np.array([shift - places], np.int64))


def _mean_xnnpack(step: Mean, sums: Int32Array, count: int) -> Int8Array:
    """Multiplier and zero points in float32, one rounding to even after the output's zero point was added."""
    scale = np.float32(step.input.scale) / np.float32(step.output.scale) * (np.float32(1.0) / np.float32(count))
    bias = np.float32(step.output.zero_point) - np.float32(count * step.input.zero_point) * scale
    moved = np.rint(sums.astype(np.float32) * scale + bias)
    return np.asarray(np.clip(moved, INT8_MIN, INT8_MAX), np.int8)


def _shifted_terms(affine: Affine, twice_scale: float, rounding: Rounding) -> Int32Array:
    """An operand of ADD on the common scale, by the bits of its int8 value."""
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int32) - affine.zero_point
    return rescale(values << ADD_LEFT_SHIFT, Rescale.from_real(affine.scale / twice_scale), rounding)


def _within(lowest_exponent: int, ratio: float) -> bool:
    """Whether XNNPACK takes this ratio of scales; LiteRT leaves an operator that it does not take to TFLite's own."""
    return bool(2.0**lowest_exponent <= ratio < 2.0**8)


def _add_xnnpack(step: Sum, x: Int8Array, other: Int8Array) -> Int8Array:
    """Two multipliers of at most 21 bits, one shift, ties upwards (XNNPACK, xnn_init_qs8_add_minmax_scalar_params)."""
    out = np.float32(step.output.scale)
    scales = np.float32(step.input.scale) / out, np.float32(step.other.scale) / out
    shift = 21 - int(np.frexp(max(scales))[1])
    first, second = (int(np.rint(np.ldexp(scale, shift))) for scale in scales)
    bias = (1 << (shift - 1)) - first * step.input.zero_point - second * step.other.zero_point
    total = x.astype(np.int64) * first + other.astype(np.int64) * second + bias
    return saturate(total >> shift, step.output, step.clamp)
