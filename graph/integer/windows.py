"""Sliding windows over int8 maps: padding, taps and pools."""

from collections.abc import Iterator

import numpy as np

from mnv3c.graph.integer.affine import Int8Array, Int32Array
from mnv3c.graph.integer.fixed_point import divide_half_away
from mnv3c.graph.integer.ops import Window
from mnv3c.graph.ops import Pair
from mnv3c.graph.shapes import Padding, window_extent


def pad(x: Int8Array, padding: Padding, value: int) -> Int8Array:
    """x (batch, height, width, channels) with borders of `value`; x itself where there are none."""
    top, left, bottom, right = padding
    if not any(padding):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def taps_of(padded: Int8Array, kernel: Pair, stride: Pair, dilation: Pair) -> Iterator[tuple[Pair, Int8Array]]:
    """Each position (i, j) of the kernel and what it reads: a view (batch, out_height, out_width, channels)."""
    size = (padded.shape[1], padded.shape[2])
    height, width = window_extent(size, kernel, stride, (0, 0, 0, 0), dilation)
    for i, j in np.ndindex(*kernel):
        top, left = i * dilation[0], j * dilation[1]
        rows = slice(top, top + (height - 1) * stride[0] + 1, stride[0])
        yield (i, j), padded[:, rows, left : left + (width - 1) * stride[1] + 1 : stride[1]]


def pool(step: Window, x: Int8Array) -> Int8Array:
    """Maximum or average of every window, over what lies inside the map; no rounding mode changes it."""
    op = step.op
    if op.mode == "max":
        return _maximum(step, x)
    inside = pad(np.ones((1, *x.shape[1:3], 1), np.int8), op.padding, 0)
    return average(_sums(step, pad(x, op.padding, 0)), _sums(step, inside))


def average(sums: Int32Array, counts: Int32Array | int) -> Int8Array:
    """Averages of `counts` int8 values each, from their sums, ties away from zero."""
    return divide_half_away(sums.astype(np.int64), counts).astype(np.int8)


def _maximum(step: Window, x: Int8Array) -> Int8Array:
    views = [view for _, view in taps_of(pad(x, step.op.padding, -128), step.op.kernel, step.op.stride, (1, 1))]
    out = views[0].copy()
    for view in views[1:]:
        np.maximum(out, view, out=out)
    return out


def _sums(step: Window, padded: Int8Array) -> Int32Array:
    views = [view for _, view in taps_of(padded, step.op.kernel, step.op.stride, (1, 1))]
    out = views[0].astype(np.int32)
    for view in views[1:]:
        out += view
    return out
