"""The steps of an integer layer: each takes int8 tensors to one int8 tensor, with every constant that it needs.

A fused layer of the graph is a short chain of steps: the matrix product requantised to int8, then a table, then a
residual sum. Each step is one operator of TFLite (hard sigmoids: two or three), so that every tensor in between can be
held against another interpreter.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mnv3c.graph.activation import Activation
from mnv3c.graph.integer.affine import INT8_MAX, INT8_MIN, Affine, Int8Array, Int32Array, Scales
from mnv3c.graph.ops import Conv2d, Dense, Pool2d


@dataclass(frozen=True)
class Clamp:
    """Bounds that a step's int8 result is clamped to: relu, relu6 and clip in the integers of its output."""

    low: int = INT8_MIN
    high: int = INT8_MAX


@dataclass(frozen=True, eq=False)
class Product:
    """A convolution, pointwise, depthwise, strided or dilated, or a dense layer.

    accumulator[c] = bias[c] + sum((x - input.zero_point) * weight[..., c]) in int32, padding counting as the zero
    point; then rescaled by input.scale * weight_scales[c] / output.scale, moved to output.zero_point and clamped.

    `op` gives the geometry (its activation and residual are steps or clamps of their own and are ignored here).
    weight: int8 in the IR's order, (kernel_h, kernel_w, in_channels / groups, out_channels) or (in_features, units),
    symmetric (zero point 0, values in -127..127); bias: int32 (out_channels,), in units of
    input.scale * weight_scales[c]; weight_scales: float32 (out_channels,).
    """

    op: Conv2d | Dense
    weight: Int8Array
    bias: Int32Array
    weight_scales: Scales
    input: Affine
    output: Affine
    clamp: Clamp = Clamp()


@dataclass(frozen=True, eq=False)
class Table:
    """output = table[x + 128], 256 int8 entries: an activation function of one int8 tensor.

    `activation` is the function it was made from, for exporters and drawings; `inner` the quantisations of the tensors
    in between where TFLite has no single operator for it (h-sigmoid), in order.
    """

    table: Int8Array
    activation: Activation
    input: Affine
    output: Affine
    inner: tuple[Affine, ...] = ()


@dataclass(frozen=True)
class Sum:
    """x + other, both int8, each rescaled to a common scale with 20 bits to the left, as TFLite's ADD."""

    input: Affine
    other: Affine
    output: Affine
    clamp: Clamp = Clamp()


@dataclass(frozen=True)
class ElementProduct:
    """x * other, where other may be a gate of shape (batch, 1, 1, channels), as TFLite's MUL."""

    input: Affine
    other: Affine
    output: Affine
    clamp: Clamp = Clamp()


@dataclass(frozen=True)
class Mean:
    """Mean over height and width, (batch, 1, 1, channels), as TFLite's MEAN with kept axes."""

    input: Affine
    output: Affine


@dataclass(frozen=True)
class Window:
    """Maximum or average over a window; quantisation is that of the input. Padding never enters either."""

    op: Pool2d
    affine: Affine


@dataclass(frozen=True)
class Reshape:
    """(batch, 1, 1, channels) to (batch, channels): no value changes."""

    affine: Affine


@dataclass(frozen=True)
class IntegerSoftmax:
    """Softmax over the last axis in fixed point, as TFLite's SOFTMAX; output is scale 1/256, zero point -128."""

    input: Affine
    output: Affine


Step = Product | Table | Sum | ElementProduct | Mean | Window | Reshape | IntegerSoftmax
Rounding = Literal["gemmlowp_double", "single", "float32_rne"]
ROUNDINGS: tuple[Rounding, ...] = ("gemmlowp_double", "single", "float32_rne")


def output_of(step: Step) -> Affine:
    """The quantisation of what a step gives."""
    return step.affine if isinstance(step, Window | Reshape) else step.output


def input_of(step: Step) -> Affine:
    """The quantisation of what a step takes first."""
    return step.affine if isinstance(step, Window | Reshape) else step.input


def weights_bytes(step: Step) -> int:
    """Bytes of constants that a step reads: weights, biases, and the table."""
    match step:
        case Product():
            return int(step.weight.nbytes + step.bias.nbytes)
        case Table():
            return int(np.asarray(step.table).nbytes)
        case _:
            return 0
