"""Weights as halves whose sums stay."""

import numpy as np
import pytest

from mnv3c.targets.gpu.rounding import balanced_halves


@pytest.mark.parametrize("shape", [(3, 3, 16, 8), (3, 3, 1, 24), (1, 1, 96, 5), (960, 40), (1, 1), (2, 7)])
def test_each_value_is_a_neighbour_and_sums_are_nearer(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)
    got = balanced_halves(weight)
    assert got.dtype == np.float32 and got.shape == shape
    halves = got.astype(np.float16)
    np.testing.assert_array_equal(halves.astype(np.float32), got)
    # Less than a whole step away: one of the two halves around the value.
    assert (np.abs(got - weight.astype(np.float64)) < np.spacing(np.abs(halves)).astype(np.float64) * (1 + 1e-6)).all()

    def errors(values: np.ndarray) -> np.ndarray:
        return np.abs((values.astype(np.float64) - weight).reshape(-1, shape[-1]).sum(axis=0))

    nearest = errors(weight.astype(np.float16))
    assert (errors(got) <= nearest + 1e-12).all()
    if weight.size // shape[-1] >= 96:
        assert errors(got).mean() < nearest.mean() / 5


def test_halves_stay_and_large_values_become_the_largest() -> None:
    weight = np.array([[0.0, 1.5, 1e6], [-2.0, 0.25, -1e6], [2.0**-24, -0.0, 65504.0]], np.float32)
    expected = np.clip(weight, -65504.0, 65504.0)
    np.testing.assert_array_equal(balanced_halves(weight), expected)


def test_all_of_one_sign() -> None:
    """The nearest halves of equal weights are all off to the same side; balanced ones mix both sides."""
    weight = np.full((100, 1), 1.0 + 2.0**-12, np.float32)
    got = balanced_halves(weight)
    assert set(np.unique(got)) == {np.float32(1.0), np.float32(1.0 + 2.0**-10)}
    assert got.sum(dtype=np.float64) == pytest.approx(weight.sum(dtype=np.float64), abs=2.0**-11)
