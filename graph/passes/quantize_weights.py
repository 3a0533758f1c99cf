"""Weights and biases of a matrix product as integers."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import INT8_MAX, INT8_MIN, Affine, Int8Array, Int32Array, Scales
from mnv3c.graph.ir import Array, Node

_INT32_MAX = 2**31 - 1
# A channel without weights has no scale of its own; at this many steps its bias is exact to 1e-6 of itself.
_BIAS_STEPS_OF_ZERO_CHANNEL = 2**20
_LEAST_SCALE = float(np.finfo(np.float32).tiny)

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """weight: int8 in -127..127, in the IR's order; bias: int32 (channels,); scales: float32 (channels,)."""

    weight: Int8Array
    bias: Int32Array
    scales: Scales


def integer_weights(node: Node, weight: Array, bias: Array | None, given: Affine) -> IntegerWeights:
    """Symmetric weights with one scale per output channel (the last axis): its largest magnitude / 127.

    Biases are in units of given.scale * scale. Where a bias would overflow, its channel's scale is raised until the
    bias and the largest sum of products together fit int32, as LiteRT's converter does (AdjustWeightsForBiasScale): the
    weights there are too small beside the bias to matter. A channel of zeros gets the scale at which its bias is 2**20
    steps. Raises UserError naming the node where even the products alone overflow int32, or a scale overflows float32.
    """
    channels = weight.shape[-1]
    terms = math.prod(weight.shape[:-1])
    room = _INT32_MAX - 1 - terms * (INT8_MAX - INT8_MIN) * INT8_MAX
    if room <= 0:
        raise UserError(f"node '{node.name}' ({node.op.kind}): sums of {terms} products of int8 overflow int32")
    real_bias = np.zeros(channels) if bias is None else bias.astype(np.float64)
    scales = _scales(weight, real_bias, given, room)
    if not np.isfinite(scales).all():
        channel = int(np.flatnonzero(~np.isfinite(scales))[0])
        raise UserError(
            f"node '{node.name}' ({node.op.kind}): bias {real_bias[channel]:.6g} of channel {channel} overflows int32"
        )
    wide = scales.astype(np.float64)
    integers = np.clip(_rounded(weight.astype(np.float64) / wide), -INT8_MAX, INT8_MAX)
    steps = _rounded(real_bias / (given.scale * wide))
    return IntegerWeights(integers.astype(np.int8), steps.astype(np.int32), scales)


def _scales(weight: Array, bias: Values, given: Affine, room: int) -> Scales:
    largest = np.abs(weight.reshape(-1, weight.shape[-1])).max(axis=0).astype(np.float64)
    of_bias = np.abs(bias) / given.scale
    of_zeros = np.where(bias == 0.0, 1.0, of_bias / _BIAS_STEPS_OF_ZERO_CHANNEL)
    scales = np.where(largest == 0.0, of_zeros, largest / INT8_MAX)
    # One part in 2**20 more than needed, for the rounding of the scale itself.
    least = np.maximum(of_bias / room * (1.0 + 2.0**-20), _LEAST_SCALE)
    with np.errstate(over="ignore"):
        return np.maximum(scales, least).astype(np.float32)


def _rounded(values: Values) -> Values:
    """To the nearest integer, ties away from zero, as TFLite's converter."""
    rounded: Values = np.trunc(values + np.copysign(0.5, values))
    return rounded
