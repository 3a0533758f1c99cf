"""Activation functions of one int8 tensor as 256-entry tables, by the formulas of TFLite's reference kernels."""

from dataclasses import dataclass

import numpy as np

from mnv3c.graph.activation import Activation
from mnv3c.graph.integer.affine import INT8_MAX, INT8_MIN, Affine, Int8Array, Int32Array
from mnv3c.graph.integer.elementwise import add, multiply, saturate
from mnv3c.graph.integer.fixed_point import Rescale, rescale, round_half_away
from mnv3c.graph.integer.hard_swish import hard_swish
from mnv3c.graph.integer.ops import Clamp, ElementProduct, Rounding, Sum, Table

RELU6_OUTPUT = Affine(float(np.float32(6.0 / 255.0)), INT8_MIN)
CONSTANT_STEPS = 127  # the int8 value of a positive constant: the most precise partner that int8 has


@dataclass(frozen=True)
class ConstantStep:
    """One TFLite operator of an int8 tensor and an int8 scalar: `step` applied to x and `constant`.

    `relu6` says that the operator carries a fused RELU6, whose bounds are `step.clamp`.
    """

    step: Sum | ElementProduct
    constant: int
    relu6: bool = False

    def apply(self, x: Int8Array, rounding: Rounding) -> Int8Array:
        """The operator's output on a tensor of any shape."""
        constant = np.array([self.constant], np.int8)
        if isinstance(self.step, Sum):
            return add(self.step, x, constant, rounding)
        return multiply(self.step, x, constant, rounding)


def all_values() -> Int8Array:
    """-128, -127, ..., 127: what a table is made of."""
    return np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int32).astype(np.int8)


def activation_clamp(activation: Activation | None, output: Affine) -> Clamp:
    """The bounds of relu, relu6 and clip in the output's integers, as TFLite's CalculateActivationRangeQuantized.

    Raises ValueError for an activation that is not a clamp.
    """
    match activation:
        case None:
            return Clamp()
        case Activation(kind="relu"):
            return Clamp(low=_bound(0.0, output))
        case Activation(kind="relu6"):
            return Clamp(_bound(0.0, output), _bound(6.0, output))
        case Activation(kind="clip"):
            return Clamp(_bound(activation.low, output), _bound(activation.high, output))
        case _:
            raise ValueError(f"{activation} is not a clamp")


def activation_table(activation: Activation, input: Affine, output: Affine, rounding: Rounding) -> Table:
    """The table of any activation.

    hswish is TFLite's HARD_SWISH and sigmoid its LOGISTIC, whatever the rounding; relu, relu6 and clip are its RELU
    kernels, and hsigmoid the chain of `hsigmoid_steps`, each rescaling under `rounding`.
    """
    values = all_values()
    inner: tuple[Affine, ...] = ()
    match activation.kind:
        case "hswish":
            table = hard_swish(values, input, output)
        case "sigmoid":
            table = _logistic(input, output)
        case "hsigmoid":
            steps = hsigmoid_steps(activation, input, output)
            inner = tuple(step.step.output for step in steps[:-1])
            table = values
            for step in steps:
                table = step.apply(table, rounding)
        case _:
            table = _clamped(activation, values, input, output, rounding)
    return Table(table, activation, input, output, inner)


def hsigmoid_steps(activation: Activation, input: Affine, output: Affine) -> tuple[ConstantStep, ...]:
    """min(max(slope * x + offset, 0), 1) as TFLite operators: [MUL 6 * slope,] ADD 6 * offset with RELU6, MUL 1 / 6.

    The first is there only where 6 * slope is not 1; its output keeps x's integers and changes what they stand for.
    """
    steps: list[ConstantStep] = []
    steepness, shift = 6.0 * activation.slope, 6.0 * activation.offset
    if steepness != 1.0:
        factor, constant = _constant(steepness)
        steep = _steep(input, factor, constant)
        steps.append(ConstantStep(ElementProduct(input, factor, steep), constant))
        input = steep
    offset, constant = _constant(shift)
    clamp = Clamp(_bound(0.0, RELU6_OUTPUT), _bound(6.0, RELU6_OUTPUT))
    steps.append(ConstantStep(Sum(input, offset, RELU6_OUTPUT, clamp), constant, relu6=True))
    sixth, constant = _constant(1.0 / 6.0)
    steps.append(ConstantStep(ElementProduct(RELU6_OUTPUT, sixth, output), constant))
    return tuple(steps)


def _constant(value: float) -> tuple[Affine, int]:
    """A real number as one int8 value and its symmetric quantisation."""
    if value == 0.0:
        return Affine(1.0, 0), 0
    return Affine(float(np.float32(abs(value) / CONSTANT_STEPS)), 0), CONSTANT_STEPS if value > 0 else -CONSTANT_STEPS


def _steep(input: Affine, factor: Affine, constant: int) -> Affine:
    """The quantisation of x * constant that needs no rounding: x's integers, mirrored for a negative constant."""
    if constant == 0:
        return input
    scale = float(np.float32(input.scale * factor.scale * abs(constant)))
    return Affine(scale, input.zero_point if constant > 0 else -1 - input.zero_point)


def _bound(value: float, output: Affine) -> int:
    scaled = float(np.float32(value) / np.float32(output.scale))
    return int(np.clip(round_half_away(np.array(scaled, np.float64)) + output.zero_point, INT8_MIN, INT8_MAX))


def _clamped(activation: Activation, x: Int8Array, input: Affine, output: Affine, rounding: Rounding) -> Int8Array:
    """TFLite's RELU, RELU6 and alike as operators of their own (reference_ops::ReluX): rescaled, then clamped."""
    centred: Int32Array = x.astype(np.int32) - np.int32(input.zero_point)
    by = Rescale.from_real(float(np.float32(input.scale) / np.float32(output.scale)))
    # LiteRT's XNNPACK delegate leaves a RELU that changes the scale to TFLite's own kernel.
    own = "gemmlowp_double" if rounding == "float32_rne" else rounding
    return saturate(rescale(centred, by, own), output, activation_clamp(activation, output))


def _logistic(input: Affine, output: Affine) -> Int8Array:
    """TFLite fills LOGISTIC's table in float32: 1 / (1 + exp(-x)), times the inverse of the output's scale."""
    x = np.float32(input.scale) * (all_values().astype(np.int32) - input.zero_point).astype(np.float32)
    # float64 rounded to float32 stands for a good expf; np.exp of float32 is not the same on every machine.
    with np.errstate(over="ignore"):
        exponential = np.exp(-x.astype(np.float64)).astype(np.float32)
    share = np.float32(1.0) / (np.float32(1.0) + exponential)
    scaled = share * (np.float32(1.0) / np.float32(output.scale))
    moved = round_half_away(scaled.astype(np.float64)) + output.zero_point
    return np.asarray(np.clip(moved, INT8_MIN, INT8_MAX), np.int8)
