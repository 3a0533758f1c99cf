"""Weights as the kernels read them: vectors of four output channels, padded with zeros."""

from collections.abc import Mapping

import numpy as np

from mnv3c.targets.gpu.builder import LANES
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.target import Array, Packed


def stored(array: Array, precision: Precision) -> Packed:
    """Flat, in the precision of storage; what is too large for a half becomes the largest one."""
    flat = np.ascontiguousarray(array, np.float32).ravel()
    if precision.storage == "fp32":
        return flat
    largest = float(np.finfo(np.float16).max)
    return np.clip(flat, -largest, largest).astype(np.float16)


def padded(array: Array, *multiples: int) -> Array:
    """Zeros behind the last axes so that each extent is a multiple; as many multiples as axes are to be padded."""
    kept = array.ndim - len(multiples)
    ends = [(0, -extent % m) for extent, m in zip(array.shape[kept:], multiples, strict=True)]
    return np.pad(array, [(0, 0)] * kept + ends)


def bias_of(weights: Mapping[str, Array], channels: int, multiple: int = LANES) -> Array:
    """The bias in float32, zeros where there is none."""
    return padded(weights.get("bias", np.zeros(channels, np.float32)), multiple)


def dense_weights(weight: Array, multiple: int) -> Array:
    """(kernel_h, kernel_w, in, out) as [out slice][kernel_h][kernel_w][in slice][4 in][4 out].

    The output channels are padded to a multiple of `multiple`.
    """
    whole = padded(weight, LANES, multiple)
    height, width, deep, wide = whole.shape
    split = whole.reshape(height, width, deep // LANES, LANES, wide // LANES, LANES)
    return split.transpose(4, 0, 1, 2, 3, 5)


def row_weights(weight: Array, multiple: int) -> Array:
    """(in, out) as [in slice][4 in][out slice][4 out]: neighbouring work items read neighbouring vectors."""
    whole = padded(weight, LANES, multiple)
    return whole.reshape(whole.shape[0], -1)


def depthwise_weights(weight: Array) -> Array:
    """(kernel_h, kernel_w, 1, channels) as [slice][kernel_h][kernel_w][4]."""
    whole = padded(weight[:, :, 0], LANES)
    height, width, channels = whole.shape
    return whole.reshape(height, width, channels // LANES, LANES).transpose(2, 0, 1, 3)
