"""What physics leaves over: one smooth function a family, of where a unit lies, in log space.

A Gaussian process, kept as weights at inducing points (the subset of regressors: Quinonero-Candela and Rasmussen 2005,
"A Unifying View of Sparse Approximate Gaussian Process Regression", section 5), which is small and fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnv3c.profiles.layer_table import Integers
from mnv3c.profiles.physics.base import Floats, Smoothness

Array = npt.NDArray[np.floating]
# So many rows at a time stay in a core's cache.
_BLOCK = 256


@dataclass(frozen=True)
class Residual:
    """One family's function: a constant, and a sum over points (m, d) of weight (m,) times covariance."""

    family: int
    length: tuple[float, ...]
    constant: float
    points: Floats
    weights: Floats

    def __call__(self, descriptors: Floats) -> Floats:
        """(n,) log corrections at (n, d) descriptors."""
        length = np.array(self.length)
        at, points = descriptors / length, self.points / length
        # Double precision: a unit's correction must not depend on the units beside it, which a product's order does.
        blocks = [covariance(at[first : first + _BLOCK], points) @ self.weights for first in range(0, len(at), _BLOCK)]
        return np.asarray(self.constant + np.concatenate([*blocks, np.zeros(0)]), np.float64)


def corrections(residuals: Sequence[Residual], families: Integers, descriptors: Floats) -> Floats:
    """(n,) log corrections: the sum of all functions of each unit's family."""
    total = np.zeros(len(families))
    for residual in residuals:
        chosen = np.flatnonzero(families == residual.family)
        if len(chosen):
            total[chosen] += residual(descriptors[chosen])
    return total


def fit_residual(family: int, target: Floats, descriptors: Floats, belief: Smoothness, max_points: int) -> Residual:
    """The function through log ratios `target` (n,) at `descriptors` (n, d): the posterior mean of the regressors."""
    from scipy.linalg import cho_factor, cho_solve

    length = np.array(belief.length)
    points = spread_points(descriptors / length, max_points)
    # The last column is the constant.
    design = np.hstack([covariance(descriptors / length, points), np.ones((len(target), 1))])
    precision = np.zeros((len(points) + 1,) * 2)
    precision[:-1, :-1] = covariance(points, points) / belief.deviation**2
    precision[-1, -1] = 1 / belief.constant_deviation**2
    normal = design.T @ design + belief.noise**2 * precision
    normal[np.diag_indices_from(normal)] += 1e-10 * np.trace(normal) / len(normal)
    solution = cho_solve(cho_factor(normal), design.T @ target)
    places = points * np.where(np.isfinite(length), length, 0.0)
    return Residual(family, belief.length, float(solution[-1]), places, np.asarray(solution[:-1], np.float64))


def prior_covariance(descriptors: Floats, belief: Smoothness) -> Floats:
    """(n, n) covariance of a function's values at (n, d) descriptors, before any row; its constant part is left out."""
    scaled = descriptors / np.array(belief.length)
    return np.asarray(belief.deviation**2 * covariance(scaled, scaled), np.float64)


def covariance(a: Array, b: Array) -> Array:
    """(n, m) Matern covariance of smoothness 5/2 and unit variance, of (n, d) and (m, d) points at length scale 1.

    Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", equation 4.17.
    """
    distance = a @ (-2 * b.T)
    distance += np.square(a).sum(1)[:, None]
    distance += np.square(b).sum(1)
    np.maximum(distance, 0, out=distance)
    distance *= 5
    polynomial = distance / 3
    np.sqrt(distance, out=distance)
    polynomial += distance
    polynomial += 1
    np.negative(distance, out=distance)
    polynomial *= np.exp(distance, out=distance)
    return polynomial


def spread_points(points: Floats, count: int) -> Floats:
    """At most `count` different points that leave none of the given ones far away, in a stable order.

    Farthest-point sampling (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance"), begun at the
    point nearest to the mean.
    """
    unique = np.unique(points, axis=0)
    if len(unique) <= count:
        return unique
    distance = np.full(len(unique), np.inf)
    chosen = [int(np.argmin(np.square(unique - unique.mean(0)).sum(1)))]
    while len(chosen) < count:
        distance = np.minimum(distance, np.square(unique - unique[chosen[-1]]).sum(1))
        chosen.append(int(distance.argmax()))
    return np.asarray(unique[np.sort(chosen)], np.float64)
