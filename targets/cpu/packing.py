"""Weights as the kernels read them."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mnv3c.targets.cpu.lanes import Lanes, Run
from mnv3c.targets.target import Array


def pad_channels(values: Array, lanes: Lanes) -> Array:
    """The last axis padded with zeros to the covered number of channels."""
    missing = lanes.covered(values.shape[-1]) - values.shape[-1]
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])


def pack_columns(weight: Array, blocks: Sequence[Run], lanes: Lanes) -> Array:
    """(depth, columns) as blocks of columns, each [depth, block] contiguous: the order in which a tile reads it."""
    padded, depth = pad_channels(weight, lanes), weight.shape[0]
    packed = [
        padded[:, run.start : run.start + run.count * run.size].reshape(depth, run.count, run.size).transpose(1, 0, 2)
        for run in blocks
    ]
    return np.concatenate([block.ravel() for block in packed])


def pack_bias(bias: Array | None, channels: int, lanes: Lanes) -> Array:
    """The bias, or zeros where the layer has none, padded."""
    return pad_channels(np.zeros(channels, np.float32) if bias is None else bias, lanes)


def pack_layer(
    weights: Mapping[str, Array], depth: int, channels: int, vectors: int, lanes: Lanes
) -> tuple[Array, Array]:
    """Weight and bias of a layer: its weight as (depth, channels), in blocks of at most `vectors` vectors."""
    weight = weights["weight"].reshape(depth, channels)
    blocks = lanes.blocks(channels, vectors)
    return pack_columns(weight, blocks, lanes), pack_bias(weights.get("bias"), channels, lanes)


def as_halves(weight: Array) -> npt.NDArray[np.float16]:
    """The same values as float16: they were rounded to halves before (see graph.passes.round_weights)."""
    with np.errstate(over="ignore"):
        halves = weight.astype(np.float16)
    assert np.array_equal(halves.astype(np.float32), weight), "a weight was not rounded to half precision"
    return halves
