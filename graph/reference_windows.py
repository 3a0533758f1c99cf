"""NumPy arithmetic of the ops that look at a neighbourhood: convolutions, pools and resampling. Part of `reference`."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mnv3c.graph.ops import Conv2d, ConvTranspose2d, Pool2d, Resize, ResizeCoordinates
from mnv3c.graph.shapes import Padding, Pair

Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


def convolve(op: Conv2d, x: Array, weights: Mapping[str, Array]) -> Array:
    """The convolution and its bias alone: no activation, no residual. x: (batch, height, width, channels)."""
    weight = weights["weight"]
    view = _windows(_padded(x, op.padding, 0.0), op.kernel, op.stride, op.dilation)
    if weight.shape[2] == 1:
        out = _depthwise(view, weight)
    else:
        group_in, group_out = weight.shape[2], op.out_channels // op.groups
        parts = [
            _im2col_matmul(
                view[..., group * group_in : (group + 1) * group_in],
                weight[..., group * group_out : (group + 1) * group_out],
            )
            for group in range(op.groups)
        ]
        out = parts[0] if op.groups == 1 else np.concatenate(parts, axis=-1)
    return out + weights["bias"] if op.bias else out


def convolve_transposed(op: ConvTranspose2d, x: Array, weights: Mapping[str, Array]) -> Array:
    """The transposed convolution and its bias alone: every input pixel adds its scaled kernel to the output."""
    weight = weights["weight"]
    batch, height, width, _ = x.shape
    (kernel_h, kernel_w), (stride_h, stride_w) = op.kernel, op.stride
    span_h, span_w = (height - 1) * stride_h, (width - 1) * stride_w
    full = np.zeros((batch, span_h + kernel_h, span_w + kernel_w, op.out_channels), np.float32)
    for i, j in np.ndindex(kernel_h, kernel_w):
        full[:, i : i + span_h + 1 : stride_h, j : j + span_w + 1 : stride_w] += x @ weight[i, j]
    top, left, bottom, right = op.padding
    out = full[:, top : full.shape[1] - bottom, left : full.shape[2] - right]
    return out + weights["bias"] if op.bias else np.ascontiguousarray(out)


def pool(op: Pool2d, x: Array) -> Array:
    """Maximum or mean of every window; see `Pool2d` for what padding counts."""
    if op.mode == "max":
        view = _windows(_padded(x, op.padding, -np.inf), op.kernel, op.stride, (1, 1))
        return np.asarray(view.max(axis=(3, 4)), np.float32)
    total = _windows(_padded(x, op.padding, 0.0), op.kernel, op.stride, (1, 1)).sum(axis=(3, 4), dtype=np.float64)
    if op.count_padding:
        return np.asarray(total / (op.kernel[0] * op.kernel[1]), np.float32)
    inside = _padded(np.ones((1, *x.shape[1:3], 1), np.float32), op.padding, 0.0)
    counts = _windows(inside, op.kernel, op.stride, (1, 1)).sum(axis=(3, 4))
    return np.asarray(total / counts, np.float32)


def resample(op: Resize, x: Array) -> Array:
    """Resizes height, then width. Positions are exact fractions, so that nearest has no rounding of its own."""
    for axis, size in enumerate(op.size, start=1):
        numerator, denominator = _source_positions(op.coordinates, x.shape[axis], size)
        if op.mode == "nearest":
            x = _nearest(op, x, axis, numerator, denominator)
        else:
            x = _linear(x, axis, numerator / denominator)
    return x


def _padded(x: Array, padding: Padding, value: float) -> Array:
    top, left, bottom, right = padding
    if not any(padding):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _windows(x: Array, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """A view of shape (batch, out_height, out_width, kernel_h, kernel_w, channels)."""
    reach = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    taken = view[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return taken.transpose(0, 1, 2, 4, 5, 3)


def _im2col_matmul(view: Array, weight: Array) -> Array:
    rows = view.reshape(-1, weight.shape[0] * weight.shape[1] * weight.shape[2])
    out: Array = rows @ weight.reshape(rows.shape[1], -1)
    return out.reshape(*view.shape[:3], weight.shape[-1])


def _depthwise(view: Array, weight: Array) -> Array:
    """Sum over taps; with more outputs than channels, output c reads channel c // multiplier."""
    multiplier = weight.shape[-1] // view.shape[-1]
    out = np.zeros((*view.shape[:3], weight.shape[-1]), np.float32)
    for i, j in np.ndindex(weight.shape[0], weight.shape[1]):
        tap = view[:, :, :, i, j]
        out += (tap if multiplier == 1 else np.repeat(tap, multiplier, axis=-1)) * weight[i, j, 0]
    return out


def _source_positions(rule: ResizeCoordinates, extent: int, size: int) -> tuple[Indices, int]:
    """Where each output index lies in the input: numerators over one denominator (ONNX, operator Resize)."""
    index = np.arange(size, dtype=np.int64)
    if rule == "asymmetric":
        return index * extent, size
    if rule == "align_corners":
        return index * (extent - 1), max(size - 1, 1)
    if rule == "pytorch_half_pixel" and size == 1:
        return index, 1
    return (2 * index + 1) * extent - size, 2 * size


def _nearest(op: Resize, x: Array, axis: int, numerator: Indices, denominator: int) -> Array:
    if op.coordinates == "asymmetric":
        index = numerator // denominator
    else:
        index = -((denominator - 2 * numerator) // (2 * denominator))
    return np.take(x, np.clip(index, 0, x.shape[axis] - 1), axis=axis)


def _linear(x: Array, axis: int, position: npt.NDArray[np.float64]) -> Array:
    last = x.shape[axis] - 1
    position = np.clip(position, 0.0, last)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, last)
    share = (position - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    mixed = np.take(x, low, axis=axis) * (1.0 - share) + np.take(x, high, axis=axis) * share
    return np.asarray(mixed, np.float32)
