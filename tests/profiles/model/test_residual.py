import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv3c.profiles.model.residual import (
    Residual,
    corrections,
    covariance,
    fit_residual,
    spread_points,
)
from mnv3c.profiles.physics.base import Smoothness

BELIEF = Smoothness(deviation=0.3, constant_deviation=0.3, length=(1.0, 1.0), noise=0.01)


def test_a_smooth_function_is_found_between_its_points() -> None:
    rng = np.random.default_rng(0)
    at = rng.uniform(-2, 2, (200, 2))
    fitted = fit_residual(0, 0.2 * np.sin(at[:, 0]) + 0.1, at, BELIEF, 150)
    new = rng.uniform(-1.5, 1.5, (50, 2))
    np.testing.assert_allclose(fitted(new), 0.2 * np.sin(new[:, 0]) + 0.1, atol=0.01)


def test_far_away_only_the_constant_is_left() -> None:
    at = np.random.default_rng(1).uniform(-1, 1, (50, 2))
    fitted = fit_residual(0, np.full(50, 0.2), at, BELIEF, 20)
    assert fitted(np.array([[50.0, 50.0]]))[0] == pytest.approx(fitted.constant, abs=1e-6)


def test_a_descriptor_with_infinite_length_does_not_enter() -> None:
    belief = Smoothness(0.3, 0.3, (1.0, float("inf")), 0.01)
    at = np.random.default_rng(2).uniform(-1, 1, (40, 2))
    fitted = fit_residual(0, at[:, 0] / 10, at, belief, 30)
    there = np.array([[0.5, -9.0], [0.5, 9.0]])
    assert fitted(there)[0] == fitted(there)[1]


def test_a_weaker_belief_moves_less() -> None:
    at, target = np.zeros((1, 2)), np.array([0.2])
    strong = fit_residual(0, target, at, BELIEF, 5)(at)
    weak = fit_residual(0, target, at, Smoothness(0.003, 0.003, (1.0, 1.0), 0.01), 5)(at)
    assert 0 < weak[0] < strong[0] < 0.2


def test_corrections_add_up_within_a_family_and_leave_others_alone() -> None:
    one, two = (Residual(0, (1.0,), constant, np.zeros((1, 1)), np.zeros(1)) for constant in (0.1, 0.2))
    np.testing.assert_allclose(corrections((one, two), np.array([0, 1, -1]), np.zeros((3, 1))), [0.3, 0, 0])


@given(seed=st.integers(0, 1000), dimensions=st.integers(1, 5))
def test_covariance_is_symmetric_positive_and_one_at_distance_zero(seed: int, dimensions: int) -> None:
    points = np.random.default_rng(seed).normal(size=(12, dimensions))
    found = covariance(points, points)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-6)
    assert np.linalg.eigvalsh(found).min() > -1e-8
    distance = np.sqrt(5 * np.square(points[:, None] - points[None]).sum(-1))
    np.testing.assert_allclose(found, (1 + distance + distance**2 / 3) * np.exp(-distance), atol=1e-6)


@given(seed=st.integers(0, 1000), count=st.integers(1, 40))
def test_spread_points_are_some_of_the_points_in_any_order(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 5, (30, 2)).astype(np.float64)
    chosen = spread_points(points, count)
    assert len(chosen) == min(count, len(np.unique(points, axis=0)))
    np.testing.assert_array_equal(chosen, spread_points(rng.permutation(points), count))
    assert {tuple(point) for point in chosen} <= {tuple(point) for point in points}
