from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.graph.integer.cpp_arithmetic import (
    INT32_MAX,
    INT32_MIN,
    double_rounding,
    half_away,
    quantized_multiplier,
    single_rounding,
    truncated,
)

from mnv3c.graph.integer.fixed_point import (
    Rescale,
    divide_half_away,
    multiply_double_rounding,
    multiply_single_rounding,
    rescale,
    round_half_away,
)

MANY = settings(max_examples=100, deadline=None, derandomize=True)
ACCUMULATORS = arrays.arrays(np.int32, 24, elements=st.integers(INT32_MIN, INT32_MAX) | st.integers(-70_000, 70_000))
MANTISSAS = st.integers(2**30, 2**31 - 1) | st.sampled_from([0, 2**30, 2**30 + 1, 2**31 - 1])
MULTIPLIERS = st.floats(2.0**-20, 2.0**6) | st.integers(-20, 6).map(lambda exponent: 2.0**exponent)


@given(ACCUMULATORS, MANTISSAS, st.integers(-31, 8))
@MANY
def test_both_integer_roundings_are_the_ones_of_the_cpp(x: np.ndarray, mantissa: int, shift: int) -> None:
    encoded = np.array([mantissa], np.int64), np.array([shift], np.int64)
    assert multiply_double_rounding(x, *encoded).tolist() == [double_rounding(int(v), mantissa, shift) for v in x]
    assert multiply_single_rounding(x, *encoded).tolist() == [single_rounding(int(v), mantissa, shift) for v in x]


def test_a_second_rounding_turns_a_quarter_into_one() -> None:
    x, mantissa, shift = np.array([1, -1, -2], np.int32), np.array([2**30], np.int64), np.array([-1], np.int64)
    # 0.25: half of it is rounded up to 1, and the half of that away from zero to 1. -0.5: down to -1 in the second.
    assert multiply_double_rounding(x, mantissa, shift).tolist() == [1, 0, -1]
    assert multiply_single_rounding(x, mantissa, shift).tolist() == [0, 0, 0]


@given(st.floats(2.0**-31, 2.0**30))
@MANY
def test_an_encoded_multiplier_is_within_half_a_unit_of_its_last_place(real: float) -> None:
    by = Rescale.from_real(real)
    mantissa, shift = int(by.mantissas[0]), int(by.shifts[0])
    assert 2**30 <= mantissa < 2**31
    assert abs(Fraction(mantissa) * Fraction(2) ** (shift - 31) - Fraction(real)) <= Fraction(2) ** (shift - 32)


@pytest.mark.parametrize(
    ("real", "mantissa", "shift"),
    [
        (0.0, 0, 0),
        (1.0, 2**30, 1),
        (0.5, 2**30, 0),
        (0.75, 3 * 2**29, 0),
        (1.0 - 2.0**-40, 2**30, 1),  # rounds up to 2 ** 31, which does not fit
        (2.0**-32, 2**30, -31),
        (2.0**-33, 0, 0),  # every bit would be shifted out
    ],
)
def test_edges_of_the_encoding(real: float, mantissa: int, shift: int) -> None:
    by = Rescale.from_real(real)
    assert (by.mantissas.tolist(), by.shifts.tolist()) == ([mantissa], [shift])


@given(arrays.arrays(np.int32, (5, 3), elements=st.integers(-(2**26), 2**26)), st.tuples(*[MULTIPLIERS] * 3))
@MANY
def test_each_channel_is_rescaled_by_its_own_multiplier(x: np.ndarray, multipliers: tuple[float, ...]) -> None:
    by = Rescale.from_real(np.array(multipliers))
    encoded = [quantized_multiplier(multiplier) for multiplier in multipliers]
    twice = [[double_rounding(v, *encoded[c]) for c, v in enumerate(row)] for row in x.tolist()]
    once = [[single_rounding(v, *encoded[c]) for c, v in enumerate(row)] for row in x.tolist()]
    nearest = [[float_rounding(v, multipliers[c]) for c, v in enumerate(row)] for row in x.tolist()]
    assert rescale(x, by, "gemmlowp_double").tolist() == twice
    assert rescale(x, by, "single").tolist() == once
    assert rescale(x, by, "float32_rne").tolist() == nearest


def float_rounding(x: int, multiplier: float) -> int:
    # A product of two float32 is exact in float64, so that rounding it once to float32 is the float32 product.
    product = float(np.float32(float(np.float32(x)) * float(np.float32(multiplier))))
    return min(max(round(product), INT32_MIN), 2**31 - 128)


@given(arrays.arrays(np.float64, 20, elements=st.floats(-1e9, 1e9) | st.integers(-999, 999).map(lambda n: n / 2)))
@MANY
def test_halves_go_away_from_zero(values: np.ndarray) -> None:
    assert round_half_away(values).tolist() == [half_away(Fraction(value)) for value in values.tolist()]


def test_just_under_a_half_is_rounded_down() -> None:
    assert round_half_away(np.array([0.49999999999999994, -0.49999999999999994, 0.5, -2.5])).tolist() == [0, 0, 1, -3]


@given(arrays.arrays(np.int64, 20, elements=st.integers(-(2**31), 2**31)), st.integers(1, 5000))
@MANY
def test_averages_are_the_ones_of_the_cpp(sums: np.ndarray, count: int) -> None:
    cpp = [truncated(s + count // 2 if s > 0 else s - count // 2, count) for s in sums.tolist()]
    assert divide_half_away(sums, count).tolist() == cpp
