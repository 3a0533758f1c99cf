import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv3c.profiles.model.intervals import ALL, conformal


@given(seed=st.integers(0, 50), count=st.integers(60, 400))
def test_intervals_cover_nine_tenths_of_new_rows(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = conformal(rng.gamma(2.0, 0.02, count) - 0.03, ["one"] * count, list(map(str, range(count))), 0.1).of(
        "one"
    )
    new = rng.gamma(2.0, 0.02, 20_000) - 0.03
    # The coverage of a fit to n rows is itself random, with a standard deviation of about sqrt(0.09 / n).
    assert abs(np.mean((low <= new) & (new <= high)) - 0.9) < 4.5 * (0.09 / count) ** 0.5


def test_few_rows_lean_on_what_is_usual() -> None:
    few = conformal(np.array([0.01, -0.01]), ["one"] * 2, ["a", "b"], 0.1)
    more = conformal(np.tile([0.01, -0.01], 15), ["one"] * 30, list(map(str, range(30))), 0.1)
    assert set(few.ratios) == {ALL}
    assert few.of("a family without rows") == few.ratios[ALL]
    low, high = few.ratios[ALL]
    assert -low == high == pytest.approx(1.645 * np.sqrt((10 * 0.01 + 2e-4) / 12), rel=1e-3)
    assert 0.01 < more.ratios[ALL][1] < high


def test_a_family_with_enough_rows_has_its_own() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([0.01 * rng.standard_normal(100), 0.2 * rng.standard_normal(100)])
    found = conformal(values, ["calm"] * 100 + ["wild"] * 100, list(map(str, range(200))), 0.1)
    assert found.of("calm")[1] < 0.04 < 0.2 < found.of("wild")[1]


@pytest.mark.parametrize(("shared", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_the_correlation_of_groups(shared: float, expected: float) -> None:
    rng = np.random.default_rng(3)
    common = np.repeat(rng.standard_normal(300), 6)
    values = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.standard_normal(1800)
    groups = [str(index // 6) for index in range(1800)]
    assert conformal(values, ["one"] * 1800, groups, 0.1).correlation == pytest.approx(expected, abs=0.06)


def test_a_single_group_counts_as_fully_correlated() -> None:
    assert conformal(np.array([0.1, 0.2]), ["one"] * 2, ["same"] * 2, 0.1).correlation == 1.0
