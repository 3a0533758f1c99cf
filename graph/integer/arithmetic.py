"""What each integer step computes, on whole tensors: the straightforward reference for emulators and exporters."""

import numpy as np

from mnv3c.graph.integer.affine import Int8Array
from mnv3c.graph.integer.elementwise import add, look_up, mean_from_sums, multiply, requantize
from mnv3c.graph.integer.ops import (
    ElementProduct,
    IntegerSoftmax,
    Mean,
    Product,
    Reshape,
    Rounding,
    Step,
    Sum,
    Table,
    Window,
)
from mnv3c.graph.integer.products import accumulate
from mnv3c.graph.integer.softmax import softmax
from mnv3c.graph.integer.windows import pool


def evaluate(step: Step, x: Int8Array, other: Int8Array | None, rounding: Rounding) -> Int8Array:
    """The step's output on x and, for a Sum or an ElementProduct, on its second input.

    Shapes are the IR's. `rounding` matters to Product, Sum, ElementProduct and Mean; a Table has it built in.
    """
    match step:
        case Product():
            return requantize(step, accumulate(step, x), rounding)
        case Table():
            return look_up(step.table, x)
        case Sum():
            return add(step, x, _second(step, other), rounding)
        case ElementProduct():
            return multiply(step, x, _second(step, other), rounding)
        case Mean():
            return mean(step, x, rounding)
        case Window():
            return pool(step, x)
        case Reshape():
            return x.reshape(x.shape[0], -1)
        case IntegerSoftmax():
            return softmax(step, x)


def mean(step: Mean, x: Int8Array, rounding: Rounding) -> Int8Array:
    """(batch, height, width, channels) to (batch, 1, 1, channels)."""
    sums = x.sum(axis=(1, 2), keepdims=True, dtype=np.int32)
    return mean_from_sums(step, sums, x.shape[1] * x.shape[2], rounding)


def _second(step: Step, other: Int8Array | None) -> Int8Array:
    if other is None:
        raise ValueError(f"a {type(step).__name__} needs a second input")
    return other
