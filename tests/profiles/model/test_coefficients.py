import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.profiles.model.coefficients import Belief, Correlated, fit_coefficients
from mnv3c.profiles.physics.base import Floats

# A large matrix is imported with the first example.
_SLOW_START = settings(deadline=None)


def belief(mean: Floats, deviation: float) -> Belief:
    return Belief(mean, np.maximum(mean, 0.1), np.full(len(mean), deviation), np.arange(len(mean)))


def independent(count: int, deviation: float = 0.01) -> list[Correlated]:
    return [Correlated(np.array([row]), np.array([[deviation**2]])) for row in range(count)]


@_SLOW_START
@given(seed=st.integers(0, 10_000), zero=st.integers(0, 3))
def test_exact_rows_give_back_their_coefficients(seed: int, zero: int) -> None:
    rng = np.random.default_rng(seed)
    terms, expected = rng.uniform(0.1, 10, (30, 4)), rng.uniform(0.5, 2, 4)
    expected[zero] = 0
    found = fit_coefficients(terms, terms @ expected, belief(np.ones(4), 100.0), independent(30))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_coefficients_are_never_negative() -> None:
    terms = np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 4.0]])
    found = fit_coefficients(terms, np.array([3.0, 2.0, 1.0]), belief(np.ones(2), 10.0), independent(3))
    assert found[0] > 0
    assert found[1] == 0


def test_few_rows_keep_the_beliefs_proportions_and_take_their_own_scale() -> None:
    mean, rng = np.array([1.0, 2.0, 0.5, 0.1]), np.random.default_rng(1)
    terms = rng.uniform(0.1, 10, (2, 4))
    found = fit_coefficients(terms, 300 * terms @ mean, belief(mean, 0.1), independent(2))
    np.testing.assert_allclose(found, 300 * mean, rtol=1e-3)


def test_many_rows_overrule_a_belief() -> None:
    rng, expected = np.random.default_rng(2), np.array([1.0, 0.2])
    terms = rng.uniform(0.1, 10, (500, 2))
    found = fit_coefficients(terms, terms @ expected, belief(np.array([0.2, 1.0]), 0.5), independent(500))
    np.testing.assert_allclose(found, expected, rtol=0.01)


def test_terms_of_a_group_move_together() -> None:
    mean, terms = np.ones(3), np.array([[1.0, 0.0, 1e-6], [0.0, 0.0, 1.0]])
    # The first term turns out twice as slow as the third; of the second nothing is measured.
    latency_ms = np.array([2.0, 1.0])
    shared = Belief(mean, mean, np.full(3, 0.5), np.array([0, 0, 1]))
    apart = Belief(mean, mean, np.full(3, 0.5), np.array([0, 2, 1]))
    together, alone = (fit_coefficients(terms, latency_ms, each, independent(2)) for each in (shared, apart))
    assert together[1] / together[2] > 1.5
    assert alone[1] / alone[2] < together[1] / together[2]


def test_rows_whose_errors_go_together_count_less() -> None:
    # Ten rows that err alike say as much as one, against one that errs alone.
    terms, latency_ms = np.ones((11, 1)), np.array([1.1] * 10 + [1.0])
    alike = [Correlated(np.arange(10), 0.01**2 + np.eye(10) * 1e-8), *independent(11)[10:]]
    found = fit_coefficients(terms, latency_ms, belief(np.ones(1), 1.0), alike)
    assert found[0] == pytest.approx(np.sqrt(1.1), rel=0.01)
    loose = fit_coefficients(terms, latency_ms, belief(np.ones(1), 1.0), independent(11))
    assert loose[0] > 1.08
