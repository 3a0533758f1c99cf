"""Weights as the kernels read them: vectors of four output channels, padded with zeros; and tensors by the host."""

from collections.abc import Mapping

import numpy as np

from mnv3c.graph.tensor import TensorType
from mnv3c.targets.gpu.builder import LANES
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.rounding import balanced_halves
from mnv3c.targets.gpu.tensors import slices
from mnv3c.targets.target import Array, Packed

_PADDING = 97.0


def stored(array: Array, precision: Precision) -> Packed:
    """Flat, in the precision of storage; what is too large for a half becomes the largest one."""
    flat = np.ascontiguousarray(array, np.float32).ravel()
    if precision.storage == "fp32":
        return flat
    largest = float(np.finfo(np.float16).max)
    return np.clip(flat, -largest, largest).astype(np.float16)


def stored_tensor(x: Array, precision: Precision) -> Packed:
    """A tensor of batch 1 in the IR's order as stored slices, flat. Lanes of padding are large: none may count."""
    rows = x.reshape(-1, x.shape[-1])
    whole = np.pad(rows, ((0, 0), (0, -rows.shape[1] % LANES)), constant_values=_PADDING)
    return stored(whole.reshape(len(rows), -1, LANES).transpose(1, 0, 2), precision)


def dense_tensor(flat: Packed, tensor: TensorType) -> Array:
    """The tensor, in the IR's order, that stored slices hold."""
    whole = flat.astype(np.float32).reshape(slices(tensor.channels), -1, LANES).transpose(1, 0, 2)
    return whole.reshape(whole.shape[0], -1)[:, : tensor.channels].reshape(tensor.shape)


def _rounded(weight: Array, precision: Precision) -> Array:
    """(..., output channels) with values that storage holds."""
    return weight if precision.storage == "fp32" else balanced_halves(weight)


def padded(array: Array, *multiples: int) -> Array:
    """Zeros behind the last axes so that each extent is a multiple; as many multiples as axes are to be padded."""
    kept = array.ndim - len(multiples)
    ends = [(0, -extent % m) for extent, m in zip(array.shape[kept:], multiples, strict=True)]
    return np.pad(array, [(0, 0)] * kept + ends)


def bias_of(weights: Mapping[str, Array], channels: int, multiple: int = LANES) -> Array:
    """The bias in float32, zeros where there is none."""
    return padded(weights.get("bias", np.zeros(channels, np.float32)), multiple)


def dense_weights(weight: Array, multiple: int, precision: Precision) -> Packed:
    """(kernel_h, kernel_w, in, out) as [out slice][kernel_h][kernel_w][in slice][4 in][4 out], flat.

    The output channels are padded to a multiple of `multiple`.
    """
    whole = padded(_rounded(weight, precision), LANES, multiple)
    height, width, deep, wide = whole.shape
    split = whole.reshape(height, width, deep // LANES, LANES, wide // LANES, LANES)
    return stored(split.transpose(4, 0, 1, 2, 3, 5), precision)


def row_weights(weight: Array, multiple: int, precision: Precision) -> Packed:
    """(in, out) as [in slice][4 in][out slice][4 out], flat: neighbouring work items read neighbouring vectors."""
    return stored(padded(_rounded(weight, precision), LANES, multiple), precision)


def depthwise_weights(weight: Array, precision: Precision) -> Packed:
    """(kernel_h, kernel_w, 1, channels) as [slice][kernel_h][kernel_w][4], flat."""
    whole = padded(_rounded(weight, precision)[:, :, 0], LANES)
    height, width, channels = whole.shape
    split = whole.reshape(height, width, channels // LANES, LANES)
    return stored(split.transpose(2, 0, 1, 3), precision)
