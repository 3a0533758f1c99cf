"""Histograms that grow: what they keep of a tensor."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mnv3c.graph.calibration.observers import SIDE_BINS, Distribution, Observer

Array = npt.NDArray[np.float32]

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def observed(*parts: Array, histogram: bool = True) -> Distribution:
    observer = Observer(histogram)
    for part in parts:
        observer.update(part)
    return observer.distribution()


def spread(seed: int) -> list[Array]:
    """Parts whose magnitudes differ by thousands, so that bins are joined on the way."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((3, 50)) * 10.0 ** rng.integers(-3, 4)).astype(np.float32) for _ in range(6)]


@pytest.mark.parametrize("seed", range(5))
def test_the_histogram_is_that_of_all_values_at_once(seed: int) -> None:
    parts = spread(seed)
    values = np.concatenate(parts)
    distribution = observed(*parts)
    expected, _ = np.histogram(values.astype(np.float64), distribution.edges)
    np.testing.assert_array_equal(distribution.counts, expected)
    assert distribution.counts.sum() == values.size
    assert (distribution.low, distribution.high) == (float(values.min()), float(values.max()))


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_arrays_does_not_matter(seed: int) -> None:
    parts = spread(seed)
    forward, backward = observed(*parts), observed(*reversed(parts))
    np.testing.assert_array_equal(forward.counts, backward.counts)
    assert forward.bin_width == backward.bin_width


@given(arrays(np.float32, st.integers(1, 20), elements=finite))
@settings(deadline=None)
def test_every_value_is_counted_whatever_its_magnitude(values: Array) -> None:
    distribution = observed(values)
    assert distribution.counts.size == 2 * SIDE_BINS
    assert distribution.counts.sum() == values.size


def test_bins_are_fine_beside_the_range() -> None:
    distribution = observed(np.array([-0.1, 1.001], np.float32))
    assert distribution.bin_width <= 1.001 / (SIDE_BINS / 2)


def test_zeros_alone_are_counted_above_zero() -> None:
    distribution = observed(np.zeros(7, np.float32))
    assert (distribution.low, distribution.high) == (0.0, 0.0)
    assert distribution.counts[SIDE_BINS] == 7


def test_without_a_histogram_only_the_extremes_are_kept() -> None:
    distribution = observed(np.array([2.0, -1.0], np.float32), histogram=False)
    assert (distribution.low, distribution.high, distribution.counts.size) == (-1.0, 2.0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        observed(np.array([0.0, value], np.float32))


def test_nothing_seen_is_no_distribution() -> None:
    with pytest.raises(ValueError, match="no values"):
        observed()
