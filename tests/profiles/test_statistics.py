"""Statistics of timings, on series whose truth is known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv3c.profiles.statistics import Floats, bootstrap_interval, drift, has_trend, summarise, warm_up_length


def noisy(n: int, seed: int, spread: float = 0.01) -> Floats:
    return 10.0 * np.exp(np.random.default_rng(seed).normal(0.0, spread, n))


def test_a_quiet_series_has_no_flags() -> None:
    values = noisy(30, seed=1)
    found = summarise(values, max_noise=0.05)
    assert found.n == 30 and found.flags == () and found.warm_up == 0
    assert found.median == np.median(values)
    assert (found.p10, found.p90) == pytest.approx(tuple(np.quantile(values, (0.1, 0.9))))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert found.p10 < found.ci_low < found.median < found.ci_high < found.p90
    assert found.noise == pytest.approx(max(found.median - found.ci_low, found.ci_high - found.median) / found.median)


def test_the_interval_covers_as_often_as_it_promises() -> None:
    """95 % of intervals hold the true median, 10; 300 series give a standard error of 1.3 %."""
    bounds = [bootstrap_interval(noisy(20, seed)) for seed in range(300)]
    covered = sum(low <= 10.0 <= high for low, high in bounds) / len(bounds)
    assert 0.90 <= covered <= 0.99


def test_more_values_narrow_the_interval() -> None:
    few, many = (summarise(noisy(n, seed=3)) for n in (15, 240))
    assert many.noise < few.noise / 2


def test_noise_beyond_the_bound_is_flagged() -> None:
    values = noisy(15, seed=4, spread=0.4)
    noise = summarise(values).noise
    assert "noisy" not in summarise(values, max_noise=noise * 1.01).flags
    assert "noisy" in summarise(values, max_noise=noise * 0.99).flags


def test_one_value_is_never_certain() -> None:
    found = summarise([3.0], max_noise=0.05)
    assert (found.n, found.median, found.std, found.ci_low, found.ci_high) == (1, 3.0, 0.0, 3.0, 3.0)
    assert found.flags == ("few", "noisy")


def test_a_warm_up_is_left_out() -> None:
    steady = noisy(20, seed=5)
    found = summarise([18.0, 14.0, 12.0, *steady])
    assert found.warm_up == 3 and found.n == 20
    assert found.median == np.median(steady)
    assert found.flags == ("warm-up",)


def test_a_warm_up_is_at_most_half() -> None:
    assert warm_up_length(np.array([9.0, 9.0, 9.0, 1.0, 1.0, 1.0])) == 3
    assert warm_up_length(np.array([9.0, 9.0, 9.0, 9.0, 1.0, 1.0])) < 3


def test_a_slow_value_in_the_middle_is_an_outlier_and_no_warm_up() -> None:
    values = noisy(20, seed=6)
    values[[8, 9, 15]] *= 2
    found = summarise(values)
    assert found.warm_up == 0 and found.outliers == 3 and found.n == 20
    assert found.flags == ("outliers",)
    one = noisy(20, seed=6)
    one[8] *= 2
    assert summarise(one).outliers == 1 and summarise(one).flags == ()


@pytest.mark.parametrize("sign", [1, -1])
def test_drift(sign: int) -> None:
    line = np.linspace(10.0, 10.0 * (1 + sign * 0.1), 30) + noisy(30, seed=7) - 10.0
    assert drift(line) == pytest.approx(sign * 0.1, abs=0.03)
    assert "drift" in summarise(line).flags


def test_chance_is_no_drift() -> None:
    """At a level of 1 % a false alarm is rare, and a small change is not worth one."""
    alarms = sum(has_trend(noisy(20, seed)) for seed in range(300))
    assert alarms <= 12
    small = np.linspace(10.0, 10.1, 40)
    assert has_trend(small) and "drift" not in summarise(small).flags


def test_equal_values() -> None:
    found = summarise([2.0] * 10, max_noise=0.01)
    assert (found.std, found.noise, found.drift, found.outliers, found.flags) == (0.0, 0.0, 0.0, 0, ())


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf], [0.0], [-1.0]])
def test_what_is_no_timing(values: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        summarise(values)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40), st.floats(0.001, 1.0))
def test_bounds_hold_for_any_series(values: list[float], max_noise: float) -> None:
    found = summarise(values, max_noise)
    assert found.n + found.warm_up == len(values)
    assert found.warm_up <= len(values) // 2
    assert min(values) <= found.ci_low <= found.median <= found.ci_high <= max(values)
    assert found.p10 <= found.median <= found.p90
    assert summarise(values, max_noise) == found


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=30), st.sampled_from([0.25, 8.0, 1024.0]))
def test_the_unit_changes_nothing(values: list[float], factor: float) -> None:
    one, other = summarise(values, 0.05), summarise([value * factor for value in values], 0.05)
    assert other.median == one.median * factor and other.flags == one.flags
    assert other.noise == pytest.approx(one.noise) and other.warm_up == one.warm_up
