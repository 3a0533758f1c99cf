"""Weights as the kernels read them."""

import numpy as np

from mnv3c.targets.cpu.lanes import Blocks, Lanes
from mnv3c.targets.target import Array


def pad_channels(values: Array, lanes: Lanes) -> Array:
    """The last axis padded with zeros to the covered number of channels."""
    missing = lanes.covered(values.shape[-1]) - values.shape[-1]
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])


def pack_columns(weight: Array, blocks: Blocks, lanes: Lanes) -> Array:
    """(depth, columns) as blocks of columns, each [depth, block] contiguous: the order in which a tile reads it."""
    padded = pad_channels(weight, lanes)
    whole = padded[:, : blocks.rest_start].reshape(weight.shape[0], blocks.count, blocks.size)
    return np.concatenate([whole.transpose(1, 0, 2).ravel(), padded[:, blocks.rest_start :].ravel()])


def pack_bias(bias: Array | None, channels: int, lanes: Lanes) -> Array:
    """The bias, or zeros where the layer has none, padded."""
    return pad_channels(np.zeros(channels, np.float32) if bias is None else bias, lanes)
