import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6, SIGMOID, Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.elementwise import add, look_up, multiply
from mnv3c.graph.integer.hard_swish import hard_swish
from mnv3c.graph.integer.ops import ROUNDINGS, Clamp, ElementProduct, Rounding, Sum
from mnv3c.graph.integer.tables import activation_clamp, activation_table, all_values, hsigmoid_steps
from mnv3c.graph.reference import apply_activation

FEW = settings(max_examples=60, deadline=None, derandomize=True)
CLIP_01 = Activation("clip", low=0.0, high=1.0)
PROBABILITY = Affine(1 / 256, -128)
INPUT = Affine(float(np.float32(0.05)), -10)


def affine(scale: float, zero_point: int) -> Affine:
    return Affine(float(np.float32(scale)), zero_point)


AFFINES = st.builds(affine, st.floats(0.01, 0.2), st.integers(-128, 127))


@pytest.mark.parametrize(
    ("activation", "output", "expected"),
    [
        (HSWISH, affine(0.03, -5), [-5, -5, -5, -5, -7, -15, -17, -13, -3, 13, 36, 65, 98, 123, 127, 127, 127, 127]),
        (
            SIGMOID,
            PROBABILITY,
            [-127, -127, -125, -122, -115, -101, -77, -40, 6, 51, 85, 106, 117, 123, 125, 127, 127, 127],
        ),
        (RELU, affine(0.03, -5), [-5, -5, -5, -5, -5, -5, -5, -5, -2, 23, 48, 73, 98, 123, 127, 127, 127, 127]),
        (
            RELU6,
            affine(0.03, -128),
            [-128, -128, -128, -128, -128, -128, -128, -128, -125, -100, -75, -50, -25, 0, 25, 50, 72, 72],
        ),
        (CLIP_01, affine(0.01, -5), [-5, -5, -5, -5, -5, -5, -5, -5, 5, 80, 95, 95, 95, 95, 95, 95, 95, 95]),
    ],
    ids=str,
)
def test_every_fifteenth_entry_is_what_litert_2_3_0_gave(
    activation: Activation, output: Affine, expected: list[int]
) -> None:
    table = activation_table(activation, INPUT, output, "gemmlowp_double")
    assert table.table[::15].tolist() == expected


@given(AFFINES, AFFINES, st.sampled_from([HSWISH, HSIGMOID, SIGMOID, RELU, RELU6, CLIP_01]), st.sampled_from(ROUNDINGS))
@FEW
def test_every_table_is_close_to_the_real_function(
    source: Affine, output: Affine, activation: Activation, rounding: Rounding
) -> None:
    values = all_values()
    table = activation_table(activation, source, output, rounding).table
    exact = apply_activation(activation, source.dequantize(values)) / output.scale + output.zero_point
    # The steps of h-sigmoid round to 6 / 255 in between; h-swish's multipliers have 16 bits.
    tolerance = 1.0
    if activation == HSIGMOID:
        tolerance += 0.5 / 255 / output.scale
    if activation == HSWISH:
        tolerance += 4e-4 * float(np.abs(exact - output.zero_point).max())
    inside = np.clip(exact, -128, 127)
    assert np.abs(table - inside).max() <= tolerance


@given(AFFINES, st.sampled_from([(1 / 6, 0.5), (0.2, 0.5), (-0.1, 0.3), (0.3, -0.1), (0.25, 0.0)]))
@FEW
def test_an_hsigmoid_of_any_slope_is_close_to_the_real_function(source: Affine, line: tuple[float, float]) -> None:
    activation = Activation("hsigmoid", slope=line[0], offset=line[1])
    table = activation_table(activation, source, PROBABILITY, "gemmlowp_double")
    exact = apply_activation(activation, source.dequantize(all_values())) * 256 - 128
    assert np.abs(table.table - np.clip(exact, -128, 127)).max() <= 1.6


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("slope", [1 / 6, 0.2, -0.1])
def test_an_hsigmoid_table_is_the_composition_of_its_steps(slope: float, rounding: Rounding) -> None:
    activation = Activation("hsigmoid", slope=slope)
    steps = hsigmoid_steps(activation, INPUT, PROBABILITY)
    assert [type(step.step) for step in steps] == [ElementProduct] * (slope != 1 / 6) + [Sum, ElementProduct]
    assert [step.relu6 for step in steps] == [False] * (slope != 1 / 6) + [True, False]
    value, source = all_values(), INPUT
    for step in steps:
        assert step.step.input == source
        constant = np.full_like(value, step.constant)
        if isinstance(step.step, Sum):
            value = add(step.step, value, constant, rounding)
        else:
            value = multiply(step.step, value, constant, rounding)
        source = step.step.output
    table = activation_table(activation, INPUT, PROBABILITY, rounding)
    assert table.table.tolist() == value.tolist()
    assert table.inner == tuple(step.step.output for step in steps[:-1])
    assert source == table.output


def test_the_first_step_of_a_steeper_hsigmoid_only_renames_the_integers() -> None:
    for slope, mirrored in ((0.2, False), (-0.2, True)):
        step = hsigmoid_steps(Activation("hsigmoid", slope=slope), INPUT, PROBABILITY)[0]
        out = step.apply(all_values(), "gemmlowp_double")
        assert out.tolist() == (all_values()[::-1] if mirrored else all_values()).tolist()


def test_hard_swish_rounds_its_multipliers_to_16_bits() -> None:
    # One entry of these would differ if the bits were cut off; values as LiteRT 2.3.0 gave them.
    table = hard_swish(all_values(), affine(0.03, -128), affine(0.03, -20))
    assert table[:150:15].tolist() == [-20, -11, -1, 13, 28, 46, 66, 85, 100, 115]


def test_looking_up_is_indexing_by_the_value_plus_128() -> None:
    table = np.random.default_rng(0).permutation(all_values())
    x = np.random.default_rng(1).integers(-128, 128, (1, 3, 5, 7)).astype(np.int8)
    expected = [int(table[int(value) + 128]) for value in x.ravel()]
    assert look_up(table, x).ravel().tolist() == expected
    # Tiles are views with strides of their own.
    assert look_up(table, x[:, ::2, 1:4, 2:]).tolist() == look_up(table, x)[:, ::2, 1:4, 2:].tolist()


def test_clamps_are_the_bounds_in_the_outputs_integers() -> None:
    output = affine(0.04, -100)
    assert activation_clamp(None, output) == Clamp(-128, 127)
    assert activation_clamp(RELU, output) == Clamp(-100, 127)
    assert activation_clamp(RELU6, output) == Clamp(-100, 50)
    assert activation_clamp(RELU6, affine(0.02, -100)) == Clamp(-100, 127)
    assert activation_clamp(Activation("clip", low=-0.5, high=1.0), output) == Clamp(-113, -75)
    with pytest.raises(ValueError, match="hswish is not a clamp"):
        activation_clamp(HSWISH, output)


def test_a_hard_swish_that_tflite_refuses_is_refused() -> None:
    with pytest.raises(UserError, match="hswish cannot go from scale 1 to"):
        hard_swish(all_values(), Affine(1.0, 0), affine(1 / 128, 0))
    assert hard_swish(all_values(), Affine(1.0, 0), affine(1 / 127, 0))[-1] == 127


def test_a_sigmoid_is_monotone_and_symmetric() -> None:
    table = activation_table(SIGMOID, affine(0.1, 0), PROBABILITY, "single").table.astype(int)
    assert (np.diff(table) >= 0).all()
    assert table[128] == 0
    assert np.abs(table[1:] + table[1:][::-1]).max() <= 1
    assert table[128 + 30] == math.floor(256 / (1 + math.exp(-3.0)) + 0.5) - 128
