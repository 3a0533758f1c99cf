"""Non-negative coefficients of physical terms, fitted to measured latencies about what is believed beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnv3c.profiles.layer_table import Integers
from mnv3c.profiles.physics.base import Floats

# A term of its own may differ from what its group shares by half as much as the group does from what is believed.
OWN_SHARE = 0.5
# The common factor is refitted in each round, so that within one it moves little.
_COMMON_DEVIATION = 0.3
_ROUNDS, _LARGEST_STEP = 4, 2.0


@dataclass(frozen=True)
class Belief:
    """What is believed of the coefficients before any row, up to one common factor, of which nothing is believed.

    Coefficient j is `mean[j] + scale[j] * (b_group + c_j)`, with b and c normal: b of the standard deviation
    `deviation[j]`, which the terms of a `group` share, and c of half of that, its own.
    """

    mean: Floats
    scale: Floats
    deviation: Floats
    group: Integers

    @property
    def covariance(self) -> Floats:
        """(t, t) covariance of b + c."""
        shared = np.equal.outer(self.group, self.group) * np.outer(self.deviation, self.deviation)
        return np.asarray(shared + np.diag(np.square(OWN_SHARE * self.deviation)), np.float64)


@dataclass(frozen=True)
class Correlated:
    """Rows (by index) whose errors go together, and the covariance of those; rows of different sets are independent."""

    rows: Integers
    covariance: Floats


def fit_coefficients(terms: Floats, latency_ms: Floats, belief: Belief, errors: Sequence[Correlated]) -> Floats:
    """(t,) coefficients >= 0, the most probable given the rows, by the errors of their logarithms.

    `terms` is (n, t), one row a measured item; `errors` has each of the n rows once. Gauss-Newton on logarithms: least
    squares of relative errors would shrink every prediction where errors are correlated. Each round is a non-negative
    least squares (Lawson and Hanson 1974, "Solving Least Squares Problems", chapter 23) of whitened rows, the belief
    being more rows.
    """
    from scipy.optimize import nnls

    whiteners = [(each.rows, np.linalg.inv(np.linalg.cholesky(each.covariance))) for each in errors]
    known = np.linalg.inv(np.linalg.cholesky(belief.covariance + _COMMON_DEVIATION**2))
    believed = known @ (belief.mean / belief.scale)
    expected_ms = terms @ belief.mean
    factor = float(np.median(latency_ms / expected_ms))
    at_ms, coefficients = factor * expected_ms, factor * belief.mean
    for _ in range(_ROUNDS):
        rows = np.column_stack([terms / at_ms[:, None] * (factor * belief.scale), 1 + np.log(latency_ms / at_ms)])
        # The least squares need no more of the rows than their triangle.
        white = np.vstack([inverse @ rows[chosen] for chosen, inverse in whiteners])
        triangle = np.asarray(np.linalg.qr(white, mode="r"), np.float64)
        system, target = np.vstack([triangle[:, :-1], known]), np.concatenate([triangle[:, -1], believed])
        solution, _ = nnls(system, target, maxiter=100 * len(known))
        coefficients = factor * belief.scale * solution
        found_ms = terms @ coefficients
        at_ms = np.clip(found_ms, at_ms / _LARGEST_STEP, at_ms * _LARGEST_STEP)
        # What the belief is about is relative to the common factor, whatever that turns out to be.
        factor = float(np.median(found_ms / expected_ms))
    return np.asarray(coefficients, np.float64)
