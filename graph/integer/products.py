"""int32 accumulators of convolutions and dense layers, whole tensors at a time.

Matrix products run in BLAS on floating point and are exact: every product of two int8 values is below 2**14 + 1, so a
sum of K of them in any order stays an integer below 2**24 in float32 up to K = 1023, and below 2**53 in float64 always.
"""

import numpy as np

from mnv3c.graph.integer.affine import Int8Array, Int32Array
from mnv3c.graph.integer.ops import Product
from mnv3c.graph.integer.windows import pad, taps_of
from mnv3c.graph.ops import Conv2d

LARGEST_FLOAT32_SUM = 1023  # of products of int8 values: 1023 * 2**14 < 2**24
CACHED_ELEMENTS = 1 << 16  # of int32 that a depthwise block keeps in the second-level cache


def accumulate(step: Product, x: Int8Array) -> Int32Array:
    """bias + sum((x - zero point) * weight) for every output; padding counts as the zero point.

    x: (batch, height, width, channels) or (batch, features). Returns (batch, out_height, out_width, out_channels) or
    (batch, units).
    """
    if not isinstance(step.op, Conv2d):
        return matrix_product(x, step.weight) + corrected_bias(step)
    padded = pad(x, step.op.padding, step.input.zero_point)
    if step.weight.shape[2] == 1 and step.op.groups > 1:
        return _depthwise(step, step.op, padded)
    return _grouped(step, step.op, padded) + corrected_bias(step)


def corrected_bias(step: Product, channels: slice = slice(None)) -> Int32Array:
    """bias - zero_point * sum of weights: what turns a plain sum of x * weight into the accumulator."""
    axes = tuple(range(step.weight.ndim - 1))
    sums = step.weight[..., channels].sum(axis=axes, dtype=np.int32)
    return np.asarray(step.bias[channels] - np.int32(step.input.zero_point) * sums, np.int32)


def matrix_product(rows: Int8Array, columns: Int8Array) -> Int32Array:
    """rows (..., K) times columns (K, N), exactly."""
    exact = np.float32 if columns.shape[0] <= LARGEST_FLOAT32_SUM else np.float64
    return np.asarray(rows.astype(exact) @ columns.astype(exact)).astype(np.int32)


def im2col(padded: Int8Array, op: Conv2d) -> Int8Array:
    """(batch, out_height, out_width, kernel_h * kernel_w * channels): each output's window, in the weights' order."""
    taps = [view for _, view in taps_of(padded, op.kernel, op.stride, op.dilation)]
    return taps[0] if len(taps) == 1 else np.concatenate(taps, axis=-1)


def _grouped(step: Product, op: Conv2d, padded: Int8Array) -> Int32Array:
    group_in, group_out = step.weight.shape[2], op.out_channels // op.groups
    parts = [
        matrix_product(
            im2col(padded[..., group * group_in : (group + 1) * group_in], op),
            step.weight[..., group * group_out : (group + 1) * group_out].reshape(-1, group_out),
        )
        for group in range(op.groups)
    ]
    return parts[0] if op.groups == 1 else np.concatenate(parts, axis=-1)


def _depthwise(step: Product, op: Conv2d, padded: Int8Array) -> Int32Array:
    """Tap by tap, a block of output rows at a time so that the sums stay in cache."""
    multiplier = op.out_channels // op.groups
    taps = [
        (step.weight[i, j, 0].astype(np.int32), view)
        for (i, j), view in taps_of(padded, op.kernel, op.stride, op.dilation)
    ]
    batch, height, width, _ = taps[0][1].shape
    out = np.empty((batch, height, width, op.out_channels), np.int32)
    rows = max(1, CACHED_ELEMENTS // (batch * width * op.out_channels))
    for top in range(0, height, rows):
        block = out[:, top : top + rows]
        block[...] = corrected_bias(step)
        for weight, view in taps:
            values = view[:, top : top + rows].astype(np.int32)
            block += (values if multiplier == 1 else np.repeat(values, multiplier, axis=-1)) * weight
    return out
