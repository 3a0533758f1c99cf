"""Weights and biases as integers."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.ir import Node
from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.graph.passes.quantize_weights import IntegerWeights, integer_weights

Array = npt.NDArray[np.float32]

GIVEN = Affine(0.0625, -3)
NODE = Node("layer", Conv2d(4, (3, 3), bias=True), ("x",))
ROUNDING = 1.0 + 1e-5  # of scales to float32

weights = arrays(np.float32, (3, 3, 2, 4), elements=st.floats(-1e4, 1e4, width=32))
biases = arrays(np.float32, (4,), elements=st.floats(-1e4, 1e4, width=32))


def worst_accumulator(found: IntegerWeights) -> int:
    products = np.abs(found.weight.astype(np.int64)).reshape(-1, found.weight.shape[-1]).sum(axis=0) * 255
    return int((products + np.abs(found.bias.astype(np.int64))).max())


@given(weights, biases)
@settings(deadline=None)
def test_what_comes_back_is_half_a_step_off_at_most(weight: Array, bias: Array) -> None:
    found = integer_weights(NODE, weight, bias, GIVEN)
    assert (found.weight.dtype, found.bias.dtype, found.scales.dtype) == (np.int8, np.int32, np.float32)
    assert found.weight.min() >= -127
    scales = found.scales.astype(np.float64)
    assert (np.abs(found.weight * scales - weight) <= ROUNDING * scales / 2).all()
    steps = GIVEN.scale * scales
    assert (np.abs(found.bias * steps - bias) <= ROUNDING * steps / 2 + 1e-30).all()
    assert worst_accumulator(found) < 2**31


def test_the_largest_weight_of_each_channel_is_127() -> None:
    weight = np.random.default_rng(0).standard_normal((3, 3, 2, 4)).astype(np.float32)
    weight *= np.array([1e-3, 1.0, 7.0, 1e3], np.float32)
    found = integer_weights(NODE, weight, None, GIVEN)
    largest = np.abs(weight).max(axis=(0, 1, 2))
    np.testing.assert_array_equal(np.abs(found.weight).max(axis=(0, 1, 2)), 127)
    np.testing.assert_allclose(found.scales, largest / 127, rtol=1e-6)
    assert not found.bias.any()


def test_a_channel_of_zeros_keeps_its_bias() -> None:
    weight = np.ones((2, 3), np.float32) * np.array([0.0, 0.0, 1.0], np.float32)
    bias = np.array([0.3, 0.0, -1.0], np.float32)
    found = integer_weights(Node("fc", Dense(3, bias=True), ("x",)), weight, bias, GIVEN)
    assert not found.weight[:, :2].any() and found.bias[1] == 0
    np.testing.assert_allclose(found.bias * (GIVEN.scale * found.scales.astype(np.float64)), bias, rtol=1e-2)
    assert found.bias[0] * GIVEN.scale * float(found.scales[0]) == pytest.approx(0.3, rel=1e-6)


def test_a_bias_far_above_its_weights_raises_the_scale_instead_of_overflowing() -> None:
    weight = np.full((3, 3, 2, 4), 1e-12, np.float32)
    bias = np.array([0.0, 0.5, -3.0, 1e-12], np.float32)
    found = integer_weights(NODE, weight, bias, GIVEN)
    assert worst_accumulator(found) < 2**31
    np.testing.assert_allclose(found.bias * (GIVEN.scale * found.scales.astype(np.float64)), bias, rtol=1e-6)
    np.testing.assert_array_equal(np.abs(found.weight).max(axis=(0, 1, 2)), [127, 0, 0, 127])


def test_sums_beyond_int32_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^node 'wide' \(dense\): sums of 70000 products of int8 overflow int32$"):
        integer_weights(Node("wide", Dense(1), ("x",)), np.ones((70_000, 1), np.float32), None, GIVEN)


def test_a_bias_that_no_float32_scale_can_carry_is_refused_by_name() -> None:
    bias = np.array([0.0, 0.0, 3e38, 0.0], np.float32)
    with pytest.raises(UserError, match=r"^node 'layer' \(conv2d\): bias 3e\+38 of channel 2 overflows int32$"):
        integer_weights(NODE, np.ones((3, 3, 2, 4), np.float32), bias, Affine(float(np.float32(1e-12)), 0))
