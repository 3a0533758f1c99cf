"""Ranges: zero is an integer, and what each method gives up."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mnv3c.graph.calibration.observers import Distribution, Observer
from mnv3c.graph.calibration.ranges import CALIBRATION_METHODS, CalibrationMethod, Range, chosen_range
from mnv3c.graph.integer.affine import Affine

Array = npt.NDArray[np.float32]

magnitudes = st.floats(0.0, 1e30, allow_nan=False)
values = arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32))


def distribution(of: Array) -> Distribution:
    observer = Observer(histogram=True)
    observer.update(of)
    return observer.distribution()


def heavy_tailed(seed: int = 0) -> Array:
    """Standard normal values with one in 2,000 far outside, as activations have them."""
    rng = np.random.default_rng(seed)
    found = rng.standard_normal(40_000)
    found[::2_000] *= 20.0
    return found.astype(np.float32)


def squared_error(affine: Affine, of: Array) -> float:
    return float(np.mean(np.square(affine.dequantize(affine.quantize(of)).astype(np.float64) - of)))


@given(magnitudes, magnitudes)
def test_zero_is_exact_and_the_ends_are_within_a_step(below: float, above: float) -> None:
    affine = Range(-below, above).affine()
    assert float(np.float32(affine.scale)) == affine.scale
    zero, low, high = affine.dequantize(np.array([affine.zero_point, -128, 127]).astype(np.int8))
    assert zero == 0.0
    if below + above > 1e-4:  # below, the least scale makes the range wider
        step = affine.scale * (1 + 1e-6)
        assert abs(low + below) <= step and abs(high - above) <= step


@pytest.mark.parametrize(
    ("low", "high", "zero_point"), [(0.0, 6.0, -128), (-6.0, 0.0, 127), (-1.0, 1.0, -1), (0.0, 0.0, -128)]
)
def test_zero_points(low: float, high: float, zero_point: int) -> None:
    affine = Range(low, high).affine()
    assert affine == Affine(float(np.float32((high - low or 1.0) / 255)), zero_point)


@given(values, st.sampled_from(CALIBRATION_METHODS), st.floats(50.1, 100.0))
@settings(deadline=None)
def test_a_range_has_zero_and_is_no_wider_than_the_values(
    of: Array, method: CalibrationMethod, percentile: float
) -> None:
    chosen = chosen_range(distribution(of), method, percentile)
    assert min(float(of.min()), 0.0) <= chosen.low <= 0.0 <= chosen.high <= max(float(of.max()), 0.0)


@given(values)
@settings(deadline=None)
def test_all_percent_are_the_extremes(of: Array) -> None:
    of_values = distribution(of)
    assert chosen_range(of_values, "percentile", 100.0) == chosen_range(of_values, "minmax", 99.0)


@pytest.mark.parametrize("percentile", [95.0, 99.0, 99.9])
def test_a_percentile_cuts_that_share_at_either_end(percentile: float) -> None:
    of = np.random.default_rng(1).standard_normal(100_000).astype(np.float32)
    chosen = chosen_range(distribution(of), "percentile", percentile)
    low, high = np.percentile(of, [100 - percentile, percentile])
    bins = 3 * distribution(of).bin_width
    assert abs(chosen.low - low) <= bins and abs(chosen.high - high) <= bins


def test_outliers_are_given_up_by_percentile_and_mse_but_not_by_minmax() -> None:
    of = heavy_tailed()
    widths = {}
    for method in CALIBRATION_METHODS:
        chosen = chosen_range(distribution(of), method, 99.9)
        widths[method] = chosen.high - chosen.low
    assert widths["percentile"] < widths["mse"] < widths["minmax"]


@pytest.mark.parametrize("seed", range(4))
def test_mse_is_as_good_as_a_search_over_the_values_themselves(seed: int) -> None:
    of = heavy_tailed(seed)
    chosen = squared_error(chosen_range(distribution(of), "mse", 99.9).affine(), of)
    low, high = float(of.min()), float(of.max())
    grid = [Range(low * i / 24, high * j / 24).affine() for i in range(1, 25) for j in range(1, 25)]
    assert chosen <= 1.02 * min(squared_error(affine, of) for affine in grid)
    assert chosen < squared_error(Range(low, high).affine(), of)
