import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mnv3c.graph.ops import Conv2d, ConvTranspose2d, Multiply, Pool2d
from mnv3c.graph.reference import evaluate
from mnv3c.graph.shapes import (
    ShapeError,
    broadcast_gate,
    pooled_extent,
    require_inputs,
    require_rank,
    transposed_extent,
    window_extent,
)
from mnv3c.graph.tensor import TensorType

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
SIZES = st.tuples(st.integers(1, 33), st.integers(1, 33))
PAIRS = st.tuples(st.integers(1, 5), st.integers(1, 5))
PADS = st.tuples(*[st.integers(0, 4)] * 4)
MANY = settings(max_examples=300, deadline=None, derandomize=True)


def windows(extent: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """How many placements of the window have both its first and last tap inside the padded extent."""
    return sum(start + (kernel - 1) * dilation < extent + after for start in range(-before, extent + after, stride))


@MANY
@given(SIZES, PAIRS, PAIRS, PADS, PAIRS)
def test_window_extent_counts_windows(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> None:
    top, left, bottom, right = padding
    counted = (
        windows(size[0], kernel[0], stride[0], top, bottom, dilation[0]),
        windows(size[1], kernel[1], stride[1], left, right, dilation[1]),
    )
    if 0 in counted:
        with pytest.raises(ShapeError, match="is larger than the padded input of"):
            window_extent(size, kernel, stride, padding, dilation)
    else:
        assert window_extent(size, kernel, stride, padding, dilation) == counted


@MANY
@given(SIZES, PAIRS, PAIRS, PADS)
def test_pooled_extent_has_no_empty_window(size: Pair, kernel: Pair, stride: Pair, padding: Padding) -> None:
    top, left, bottom, right = padding
    assume(size[0] + top + bottom >= kernel[0] and size[1] + left + right >= kernel[1])
    if max(top, bottom) >= kernel[0] or max(left, right) >= kernel[1]:
        with pytest.raises(ShapeError, match="is not smaller than the window"):
            pooled_extent(size, kernel, stride, padding)
        return
    extents = pooled_extent(size, kernel, stride, padding)
    assert extents == window_extent(size, kernel, stride, padding, (1, 1))
    for axis, count in enumerate(extents):
        starts = [index * stride[axis] - padding[axis] for index in range(count)]
        assert all(start < size[axis] and start + kernel[axis] > 0 for start in starts)


@MANY
@given(SIZES, PAIRS, PAIRS, PADS)
def test_transposed_extent_inverts_the_window(size: Pair, kernel: Pair, stride: Pair, padding: Padding) -> None:
    reached = [
        {index * stride[axis] + tap for index in range(size[axis]) for tap in (0, kernel[axis] - 1)} for axis in (0, 1)
    ]
    expected = tuple(max(reached[axis]) + 1 - padding[axis] - padding[axis + 2] for axis in (0, 1))
    if min(expected) <= 0:
        with pytest.raises(ShapeError, match="output would be"):
            transposed_extent(size, kernel, stride, padding)
        return
    extents = transposed_extent(size, kernel, stride, padding)
    assert extents == expected
    assert window_extent(extents, kernel, stride, padding, (1, 1)) == size


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), PAIRS, PAIRS, PADS, PAIRS, st.booleans())
def test_inferred_shapes_are_the_computed_ones(
    size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, transposed: bool
) -> None:
    op: Conv2d | ConvTranspose2d = Conv2d(3, kernel, stride, padding, dilation)
    if transposed:
        op = ConvTranspose2d(3, kernel, stride, padding)
    x = TensorType((2, *size, 2))
    try:
        out = op.infer((x,))
    except ShapeError:
        assume(False)
    weight = np.ones(op.weights((x,))["weight"], np.float32)
    assert evaluate(op, [np.ones(x.shape, np.float32)], {"weight": weight}).shape == out.shape


@MANY
@given(SIZES, PAIRS, PADS, PAIRS)
def test_macs_count_every_tap_of_every_window(size: Pair, kernel: Pair, padding: Padding, stride: Pair) -> None:
    x = TensorType((1, *size, 6))
    op = Conv2d(4, kernel, stride, padding, groups=2)
    assume(size[0] + padding[0] + padding[2] >= kernel[0] and size[1] + padding[1] + padding[3] >= kernel[1])
    per_output = np.prod(op.weights((x,))["weight"][:-1])
    assert op.macs((x,)) == op.infer((x,)).elements * per_output


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "message"),
    [
        ((0, 3), (1, 1), (0, 0, 0, 0), (1, 1), r"kernel must be positive, not \(0, 3\)"),
        ((3, 3), (1, 0), (0, 0, 0, 0), (1, 1), r"stride must be positive, not \(1, 0\)"),
        ((3, 3), (1, 1), (0, -1, 0, 0), (1, 1), r"padding must be 0 to 65536, not \(0, -1, 0, 0\)"),
        ((3, 3), (1, 1), (0, 0, 0, 0), (-1, 1), r"dilation must be positive, not \(-1, 1\)"),
        ((3, 3), (1, 1), (0, 0, 0, 0), (4, 1), "window of 9 is larger than the padded input of 8"),
    ],
)
def test_bad_windows(kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        window_extent((8, 8), kernel, stride, padding, dilation)


def test_gates() -> None:
    x, gate = TensorType((2, 5, 7, 3)), TensorType((2, 1, 1, 3))
    assert broadcast_gate(x, x) == broadcast_gate(x, gate) == x
    for bad in (
        TensorType((1, 1, 1, 3)),
        TensorType((2, 1, 1, 1)),
        TensorType((2, 1, 7, 3)),
        TensorType((2, 3)),
        TensorType((2, 1, 1, 3), "int8"),
    ):
        with pytest.raises(ShapeError, match=f"cannot multiply 2x5x7x3 by {bad}"):
            Multiply().infer((x, bad))


def test_counts_and_ranks() -> None:
    x = TensorType((1, 2))
    assert require_rank(x, 2) is x
    with pytest.raises(ShapeError, match="needs a tensor of rank 4, not 1x2"):
        require_rank(x, 4)
    with pytest.raises(ShapeError, match="takes 1 input, not 2"):
        require_inputs((x, x), 1)
    with pytest.raises(ShapeError, match="takes 2 inputs, not 0"):
        require_inputs((), 2)
    with pytest.raises(ShapeError, match="is not smaller than the window"):
        Pool2d("max", (2, 2), (2, 2), (2, 0, 0, 0)).infer((TensorType((1, 8, 8, 1)),))
