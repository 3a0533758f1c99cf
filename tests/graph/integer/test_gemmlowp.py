import math

import numpy as np
import pytest

from mnv3c.graph.integer.gemmlowp import (
    EXP_OF_MINUS_EIGHTH,
    EXP_OF_NEGATIVE_POWERS,
    FORTY_EIGHT_SEVENTEENTHS,
    MINUS_THIRTY_TWO_SEVENTEENTHS,
    ONE_THIRD,
    exp_on_negative_values,
    one_over_one_plus,
    reciprocal,
    scale_by_power_of_two,
)


def test_constants_are_the_nearest_fixed_point_numbers() -> None:
    powers = [round(math.exp(-(2.0**exponent)) * 2**31) for exponent in range(-2, 5)]
    assert list(EXP_OF_NEGATIVE_POWERS) == powers
    assert round(math.exp(-1 / 8) * 2**31) == EXP_OF_MINUS_EIGHTH
    assert round(2**31 / 3) == ONE_THIRD
    assert round(48 / 17 * 2**29) == FORTY_EIGHT_SEVENTEENTHS
    assert round(-32 / 17 * 2**29) == MINUS_THIRTY_TWO_SEVENTEENTHS


def test_powers_of_two_saturate_to_the_left_and_round_away_to_the_right() -> None:
    x = np.array([2**29, 2**30, -(2**30), -(2**30) - 1, 3, -3, 2, -2], np.int64)
    assert scale_by_power_of_two(x, 1)[:4].tolist() == [2**30, 2**31 - 1, -(2**31), -(2**31)]
    assert scale_by_power_of_two(x, -1)[4:].tolist() == [2, -2, 1, -1]
    assert scale_by_power_of_two(x, -2)[4:].tolist() == [1, -1, 1, -1]


@pytest.mark.parametrize("integer_bits", [0, 3, 5])
def test_exponentials_are_close_to_the_real_ones(integer_bits: int) -> None:
    rng = np.random.default_rng(integer_bits)
    a = np.concatenate([rng.integers(-(2**31), 0, 2000), rng.integers(-(2**20), 1, 200), [0, -1, -(2**31)]])
    real = np.exp(a * 2.0 ** (integer_bits - 31))
    assert np.abs(exp_on_negative_values(a, integer_bits) / 2**31 - real).max() < 1e-6


def test_reciprocals_are_close_to_the_real_ones() -> None:
    a = np.concatenate([np.random.default_rng(0).integers(0, 2**31, 2000), [0, 1, 2**31 - 1]])
    assert np.abs(one_over_one_plus(a) / 2**31 - 1 / (1 + a / 2**31)).max() < 1e-8
    x = np.array([2**19, 2**19 + 1, 3 * 2**19, 1000 * 2**19, 2**31 - 1], np.int64)
    mantissas, bits = reciprocal(x, 12)
    assert bits.tolist() == [0, 0, 1, 9, 11]
    assert np.abs(mantissas / 2.0**31 / 2.0**bits * (x / 2**19) - 1).max() < 1e-8
