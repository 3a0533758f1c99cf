import itertools
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.integer.cpp_arithmetic import (
    double_rounding,
    half_away,
    quantized_multiplier,
    single_rounding,
    truncated,
)

from mnv3c.graph.integer.affine import Affine, Int8Array
from mnv3c.graph.integer.arithmetic import evaluate
from mnv3c.graph.integer.elementwise import add, mean_from_sums, multiply, requantize
from mnv3c.graph.integer.ops import (
    ROUNDINGS,
    Clamp,
    ElementProduct,
    IntegerSoftmax,
    Mean,
    Product,
    Reshape,
    Rounding,
    Sum,
    Window,
)
from mnv3c.graph.integer.products import LARGEST_FLOAT32_SUM, accumulate, matrix_product
from mnv3c.graph.networks.builder import same_padding
from mnv3c.graph.ops import Conv2d, Dense, Pool2d
from mnv3c.graph.shapes import window_extent

UNCLAMPED = Clamp()
FEW = settings(max_examples=30, deadline=None, derandomize=True)
EXTENTS = st.sampled_from([1, 2, 7, 31, 33])
AFFINES = st.builds(
    lambda scale, zero_point: Affine(float(np.float32(scale)), zero_point),
    st.floats(0.01, 0.2),
    st.integers(-128, 127),
)
SEEDS = st.integers(0, 2**32 - 1)
ROUNDING = st.sampled_from(ROUNDINGS)


def int8s(seed: int, *shape: int) -> Int8Array:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def rescaled(x: int, real: float, rounding: Rounding) -> int:
    match rounding:
        case "gemmlowp_double":
            return double_rounding(x, *quantized_multiplier(real))
        case "single":
            return single_rounding(x, *quantized_multiplier(real))
        case "float32_rne":
            return round(float(np.float32(x) * np.float32(real)))


def clamped(value: int, affine: Affine, clamp: Clamp = UNCLAMPED) -> int:
    return min(max(value + affine.zero_point, clamp.low), clamp.high)


def product(op: Conv2d | Dense, weight_shape: tuple[int, ...], seed: int, source: Affine) -> Product:
    """A step whose outputs spread over int8 and reach both clamps."""
    rng = np.random.default_rng(seed)
    channels = weight_shape[-1]
    scales = rng.uniform(0.001, 0.02, channels).astype(np.float32)
    spread = 9000 * np.sqrt(np.prod(weight_shape[:-1])) * source.scale * scales.mean()
    return Product(
        op,
        rng.integers(-127, 128, weight_shape).astype(np.int8),
        rng.integers(-9000, 9000, channels).astype(np.int32),
        scales,
        source,
        Affine(float(np.float32(spread / 60)), int(rng.integers(-60, 60))),
        Clamp(-100, 90),
    )


def naive_convolution(step: Product, op: Conv2d, x: Int8Array) -> npt.NDArray[np.int64]:
    height, width = window_extent((x.shape[1], x.shape[2]), op.kernel, op.stride, op.padding, op.dilation)
    out = np.zeros((x.shape[0], height, width, op.out_channels), np.int64)
    group_in, group_out = step.weight.shape[2], op.out_channels // op.groups
    for n, row, column, channel in np.ndindex(*out.shape):
        total = int(step.bias[channel])
        for i, j in np.ndindex(*op.kernel):
            y = row * op.stride[0] + i * op.dilation[0] - op.padding[0]
            z = column * op.stride[1] + j * op.dilation[1] - op.padding[1]
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                first = channel // group_out * group_in
                for c in range(group_in):
                    value = int(x[n, y, z, first + c]) - step.input.zero_point
                    total += value * int(step.weight[i, j, c, channel])
        out[n, row, column, channel] = total
    return out


def real_multiplier(step: Product, channel: int, rounding: Rounding) -> float:
    if rounding == "float32_rne":
        scale = np.float32(step.input.scale) * step.weight_scales[channel] / np.float32(step.output.scale)
        return float(scale)
    return step.input.scale * float(step.weight_scales[channel]) / step.output.scale


def check_requantised(step: Product, accumulators: npt.NDArray[np.int64], got: Int8Array, rounding: Rounding) -> None:
    for index in np.ndindex(*accumulators.shape):
        real = real_multiplier(step, index[-1], rounding)
        expected = clamped(rescaled(int(accumulators[index]), real, rounding), step.output, step.clamp)
        assert got[index] == expected, index


@given(
    st.tuples(st.sampled_from([1, 2, 7, 9]), st.sampled_from([1, 3, 8])),
    st.sampled_from([(1, 3, 5), (1, 7, 2), (2, 4, 6), (3, 9, 3), (5, 5, 5), (5, 5, 10), (2, 2, 4)]),
    st.sampled_from([(1, 1), (3, 3), (2, 5)]),
    st.sampled_from([(1, 1, 1, 1), (2, 1, 1, 1), (2, 2, 1, 1), (1, 1, 2, 1), (1, 2, 3, 2)]),
    AFFINES,
    ROUNDING,
    SEEDS,
)
@FEW
def test_convolutions_are_the_naive_loops(
    size: tuple[int, int],
    channels: tuple[int, int, int],
    kernel: tuple[int, int],
    steps: tuple[int, int, int, int],
    source: Affine,
    rounding: Rounding,
    seed: int,
) -> None:
    groups, inputs, outputs = channels
    stride, dilation = steps[:2], steps[2:]
    pads = [same_padding(size, kernel[axis], stride[axis], dilation[axis])[axis::2] for axis in (0, 1)]
    padding = (pads[0][0], pads[1][0], pads[0][1], pads[1][1])
    op = Conv2d(outputs, kernel, stride, padding, dilation, groups)
    step = product(op, (*kernel, inputs // groups, outputs), seed, source)
    x = int8s(seed, 2, *size, inputs)
    expected = naive_convolution(step, op, x)
    got = accumulate(step, x)
    assert got.dtype == np.int32
    assert got.tolist() == expected.tolist()
    check_requantised(step, expected, evaluate(step, x, None, rounding), rounding)


@pytest.mark.parametrize("extent", [31, 33])
def test_a_large_depthwise_map_is_summed_block_by_block(extent: int) -> None:
    # 33 * 33 * 130 sums are more than one block holds.
    op = Conv2d(130, (5, 5), (1, 1), (2, 2, 2, 2), groups=130)
    step = product(op, (5, 5, 1, 130), 3, Affine(0.0625, 9))
    x = int8s(4, 1, extent, extent, 130)
    whole = accumulate(step, x)
    for channel in (0, 64, 129):
        one = Conv2d(1, (5, 5), (1, 1), (2, 2, 2, 2))
        alone = Product(
            one,
            step.weight[..., channel : channel + 1],
            step.bias[channel : channel + 1],
            step.weight_scales[channel : channel + 1],
            step.input,
            step.output,
        )
        assert (accumulate(alone, x[..., channel : channel + 1])[..., 0] == whole[..., channel]).all()


@given(EXTENTS, EXTENTS, AFFINES, ROUNDING, SEEDS)
@FEW
def test_dense_layers_are_the_naive_sums(
    features: int, units: int, source: Affine, rounding: Rounding, seed: int
) -> None:
    step = product(Dense(units), (features, units), seed, source)
    x = int8s(seed, 3, features)
    expected = (x.astype(np.int64) - source.zero_point) @ step.weight.astype(np.int64) + step.bias
    got = evaluate(step, x, None, rounding)
    if rounding != "gemmlowp_double":
        check_requantised(step, expected, got, rounding)
        return
    for n, unit in np.ndindex(*got.shape):
        real = real_multiplier(step, unit, rounding)
        assert got[n, unit] == clamped(half_away(Fraction(int(expected[n, unit]) * real)), step.output, step.clamp)


def test_litert_rounds_a_dense_layer_once_and_a_convolution_twice() -> None:
    one = np.ones(1, np.float32)
    quarter = (np.ones((1, 1), np.int8), np.zeros(1, np.int32), one, Affine(1.0, 0), Affine(4.0, 0))
    x = np.array([[1], [-2], [2], [3]], np.int8)
    dense = Product(Dense(1), *quarter)
    conv = Product(Conv2d(1), quarter[0].reshape(1, 1, 1, 1), *quarter[1:])
    assert evaluate(dense, x, None, "gemmlowp_double").ravel().tolist() == [0, -1, 1, 1]
    assert evaluate(conv, x[:, None, None], None, "gemmlowp_double").ravel().tolist() == [1, -1, 1, 1]
    assert evaluate(dense, x, None, "single").ravel().tolist() == [0, 0, 1, 1]
    assert evaluate(conv, x[:, None, None], None, "float32_rne").ravel().tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("depth", [LARGEST_FLOAT32_SUM, LARGEST_FLOAT32_SUM + 1, 4097])
def test_matrix_products_are_exact_at_their_largest(depth: int) -> None:
    rows = np.full((2, depth), -128, np.int8)
    rows[1, ::2] = 127
    columns = np.full((depth, 3), -128, np.int8)
    columns[:, 1] = 127
    columns[0, 2] = 127
    expected = rows.astype(np.int64) @ columns.astype(np.int64)
    assert matrix_product(rows, columns).tolist() == expected.tolist()


@given(AFFINES, AFFINES, AFFINES, ROUNDING, SEEDS)
@FEW
def test_sums_are_tflites_with_20_bits_to_the_left(
    left: Affine, right: Affine, output: Affine, rounding: Rounding, seed: int
) -> None:
    step = Sum(left, right, output, Clamp(-120, 110))
    x, other = int8s(seed, 1, 3, 5, 7), int8s(seed + 1, 1, 3, 5, 7)
    got = add(step, x, other, rounding)
    twice = 2 * max(left.scale, right.scale)
    for index in np.ndindex(*x.shape):
        a, b = int(x[index]) - left.zero_point, int(other[index]) - right.zero_point
        if rounding == "float32_rne":
            # XNNPACK: multipliers of 21 bits at most, so the sum is off by little more than half.
            exact = (a * left.scale + b * right.scale) / output.scale
            assert abs(got[index] - min(max(exact + output.zero_point, -120), 110)) <= 0.501
            continue
        total = rescaled(a << 20, left.scale / twice, rounding) + rescaled(b << 20, right.scale / twice, rounding)
        expected = rescaled(total, twice / (2**20 * output.scale), rounding)
        assert got[index] == clamped(expected, output, step.clamp)


def test_a_sum_is_xnnpacks_only_where_xnnpack_takes_its_scales() -> None:
    x, other = np.array([2, -2, 6], np.int8), np.array([-1, 0, -1], np.int8)
    near = Sum(Affine(0.25, 0), Affine(1.0, 0), Affine(1.0, 0))
    # -0.5, -0.5 and 0.5: ties upwards in XNNPACK, away from zero in TFLite.
    assert add(near, x, other, "float32_rne").tolist() == [0, 0, 1]
    assert add(near, x, other, "gemmlowp_double").tolist() == [-1, -1, 1]
    far = Sum(Affine(2.0**-11, 0), Affine(0.5, 0), Affine(1.0, 0))
    assert add(far, np.zeros(3, np.int8), other, "float32_rne").tolist() == [-1, 0, -1]


@pytest.mark.parametrize("rounding", ["gemmlowp_double", "single"])
def test_sums_near_ties_tell_the_bits_to_the_left(rounding: Rounding) -> None:
    # a + b / 3 in units of two: where b is a multiple of three, a tie that the last of 20 bits decides.
    left, right, output = (Affine(float(np.float32(scale)), 0) for scale in (0.1, 0.1 / 3, 0.2))
    pairs = np.array(list(itertools.product(range(-128, 128, 5), range(-126, 127, 3))), np.int8)
    got = add(Sum(left, right, output), pairs[:, 0], pairs[:, 1], rounding)
    for (a, b), value in zip(pairs.tolist(), got.tolist(), strict=True):
        total = rescaled(a << 20, 0.5, rounding) + rescaled(b << 20, right.scale / (2 * left.scale), rounding)
        assert value == rescaled(total, 2 * left.scale / (2**20 * output.scale), rounding)


@given(AFFINES, AFFINES, st.floats(0.0005, 0.05), st.booleans(), ROUNDING, SEEDS)
@FEW
def test_element_products_and_gates_are_the_naive_loops(
    left: Affine, right: Affine, scale: float, gate: bool, rounding: Rounding, seed: int
) -> None:
    output = Affine(float(np.float32(scale)), -3)
    step = ElementProduct(left, right, output)
    x, other = int8s(seed, 2, 3, 5, 7), int8s(seed + 1, 2, *((1, 1) if gate else (3, 5)), 7)
    got = multiply(step, x, other, rounding)
    real = float(np.float32(left.scale) * np.float32(right.scale) / np.float32(output.scale))
    whole = np.broadcast_to(other, x.shape)
    for index in np.ndindex(*x.shape):
        value = (int(x[index]) - left.zero_point) * (int(whole[index]) - right.zero_point)
        assert got[index] == clamped(rescaled(value, real, rounding), output)


@given(EXTENTS, EXTENTS, AFFINES, AFFINES, ROUNDING, SEEDS)
@FEW
def test_means_fold_the_count_into_the_multiplier(
    height: int, width: int, source: Affine, output: Affine, rounding: Rounding, seed: int
) -> None:
    step = Mean(source, output)
    x = int8s(seed, 2, height, width, 3)
    got = evaluate(step, x, None, rounding)
    assert got.shape == (2, 1, 1, 3)
    count = height * width
    mantissa, shift = quantized_multiplier(source.scale / output.scale)
    places = count.bit_length() - 1
    # Two roundings, the first to half an integer at the coarsest, are off by up to 3 / 4.
    tolerance = 0.76 if rounding == "gemmlowp_double" else 0.51
    encoded = (mantissa << places) // count, shift - places
    for n, channel in itertools.product(range(2), range(3)):
        total = sum(int(value) - source.zero_point for value in x[n, :, :, channel].ravel())
        exact = total / count * source.scale / output.scale
        assert abs(got[n, 0, 0, channel] - min(max(exact + output.zero_point, -128), 127)) <= tolerance
        if rounding == "gemmlowp_double":
            assert got[n, 0, 0, channel] == clamped(double_rounding(total, *encoded), output)
        if rounding == "single":
            assert got[n, 0, 0, channel] == clamped(single_rounding(total, *encoded), output)


@given(
    st.sampled_from([(7, 7), (31, 2), (3, 33)]),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([(0, 0, 0, 0), (0, 0, 0, 1), (1, 0, 1, 1)]),
    SEEDS,
)
@FEW
def test_pools_are_the_naive_loops(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    seed: int,
) -> None:
    padding = tuple(min(pad, kernel[axis % 2] - 1) for axis, pad in enumerate(padding))  # type: ignore[assignment]
    x = int8s(seed, 2, *size, 3)
    largest = evaluate(Window(Pool2d("max", kernel, stride, padding), Affine(1.0, 0)), x, None, "single")
    average = evaluate(Window(Pool2d("average", kernel, stride, padding), Affine(1.0, 7)), x, None, "single")
    for n, row, column, channel in np.ndindex(*largest.shape):
        top, left = row * stride[0] - padding[0], column * stride[1] - padding[1]
        window = x[n, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1], channel].astype(int).ravel()
        total, count = int(window.sum()), window.size
        assert largest[n, row, column, channel] == window.max()
        half = count // 2 if total > 0 else -(count // 2)
        assert average[n, row, column, channel] == truncated(total + half, count)


def test_a_softmax_is_what_litert_2_3_0_gave() -> None:
    step = IntegerSoftmax(Affine(float(np.float32(0.07)), 3), Affine(1 / 256, -128))
    x = np.array([[-128, -90, -3, 0, 5, 17, 40, 41], [127, 127, 126, 125, 100, 0, -1, -128]], np.int8)
    expected = [[-128, -128, -123, -122, -119, -107, -24, -17], [-63, -63, -68, -72, -118, -128, -128, -128]]
    assert evaluate(step, x, None, "gemmlowp_double").tolist() == expected


@given(st.sampled_from([1, 2, 31, 1000, 3000]), st.floats(0.0005, 2.0), SEEDS)
@FEW
def test_a_softmax_is_the_nearest_integer_or_its_neighbour(features: int, scale: float, seed: int) -> None:
    step = IntegerSoftmax(Affine(float(np.float32(scale)), 5), Affine(1 / 256, -128))
    x = int8s(seed, 2, features)
    real = np.exp((x.astype(float) - x.max(axis=1, keepdims=True)) * step.input.scale)
    exact = np.minimum(real / real.sum(axis=1, keepdims=True) * 256 - 128, 127)
    assert np.abs(evaluate(step, x, None, "single") - exact).max() <= 0.51


@given(AFFINES, ROUNDING, SEEDS)
@FEW
def test_the_elementwise_parts_give_tiles_what_they_give_tensors(source: Affine, rounding: Rounding, seed: int) -> None:
    tile = (slice(None), slice(1, 3), slice(2, 7), slice(3, 11))
    conv = product(Conv2d(17), (1, 1, 5, 17), seed, source)
    sums = accumulate(conv, int8s(seed, 1, 4, 9, 5))
    whole = requantize(conv, sums, rounding)
    assert (requantize(conv, sums[tile], rounding, tile[3]) == whole[tile]).all()
    gate = ElementProduct(conv.output, source, source)
    other = int8s(seed + 1, 1, 1, 1, 17)
    assert (
        multiply(gate, whole[tile], other[..., tile[3]], rounding) == multiply(gate, whole, other, rounding)[tile]
    ).all()
    residual = Sum(conv.output, source, source)
    rest = int8s(seed + 2, *whole.shape)
    assert (add(residual, whole[tile], rest[tile], rounding) == add(residual, whole, rest, rounding)[tile]).all()
    mean = Mean(conv.output, source)
    parts = [whole[:, rows].sum(axis=(1, 2), keepdims=True, dtype=np.int32) for rows in (slice(0, 1), slice(1, 4))]
    tiled = mean_from_sums(mean, parts[0] + parts[1], 36, rounding)
    assert (tiled == evaluate(mean, whole, None, rounding)).all()


def test_a_reshape_changes_no_value_and_a_missing_operand_is_named() -> None:
    affine = Affine(1.0, 0)
    x = int8s(0, 2, 1, 1, 5)
    assert evaluate(Reshape(affine), x, None, "single").tolist() == x.reshape(2, 5).tolist()
    with pytest.raises(ValueError, match="a Sum needs a second input"):
        evaluate(Sum(affine, affine, affine), x, None, "single")
