"""What to measure next: the few layers or blocks that tell a model most about all the others.

Near what it believes, a model is linear in what it does not know yet: how far each group of terms of its physics is
off, and its residual functions. How far two rows differ in these unknowns is how badly one would predict the other.
Rows are chosen so that every row of the pool has a like one among them: each next row lowers the mean, over the pool,
of the root of the standard deviation of a row's prediction from the most alike measured row. The root, because a row
far from all others is where the linear form is least true; it must not cost many near ones their neighbour.

Why not D-optimality, which takes the rows of largest variance, or the least mean variance given all measured rows:
both trust the linear form, and so choose rows at the rim of the pool. A profile of the Pixel 4 was transferred to the
Pixel 6 and back by 5, 10 and 20 blocks, of all 854 and of random halves; the error, in proportion to the median of that
by 20 random choices, was on average 1.00 to 1.22 for D-optimality, 0.89 to 1.07 for mean variance, 0.90 to 0.98 for
this choice. (Root and largest deviation were chosen there too.) From 15 rows on, a choice gains little.
"""

from collections.abc import Sequence

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.model.coefficients import OWN_SHARE
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.model.residual import covariance, spread_points
from mnv3c.profiles.physics.base import UNIT_GROUP, Floats, Physics, Smoothness

# A fit is told that a rare term may be off by its own size and more; a plan that believed so would chase that term.
_LARGEST_DEVIATION = 0.2
# Distances are computed for so many rows at a time.
_CHUNK = 512


def choose(
    features: Floats, count: int, prior_precision: float | Floats = 1.0, measured: Sequence[int] = ()
) -> tuple[int, ...]:
    """Indices of `count` rows of the pool to measure, the most telling first; a longer choice begins with a shorter.

    `features` (n, d) are the pool's rows in a model that is linear in d unknowns, of mean 0 and, before any row, of the
    precision `prior_precision`, one for all or (d,). Rows that were `measured` already are not chosen, and what is like
    them is taken as known. Of equally telling rows the first is chosen.

    Greedy k-median (a facility location, so within 1 - 1/e of the best: Nemhauser, Wolsey and Fisher 1978). Raises
    UserError for a count that the pool does not have, and for features or precisions that are no numbers.
    """
    scaled = _scaled(features, prior_precision)
    _check(len(features), count, measured)
    nearest = np.full(len(features), np.inf)
    for row in measured:
        nearest = np.minimum(nearest, _cost(scaled, scaled[row : row + 1])[:, 0])
    left = np.ones(len(features), np.bool_)
    left[list(measured)] = False
    chosen: list[int] = []
    for _ in range(count):
        cost = np.where(left, _mean_cost(scaled, nearest), np.inf)
        # Equal rows differ by rounding, which must not decide.
        row = int(np.flatnonzero(cost <= cost.min() * (1 + 1e-9))[0])
        chosen.append(row)
        left[row] = False
        nearest = np.minimum(nearest, _cost(scaled, scaled[row : row + 1])[:, 0])
    return tuple(chosen)


def transfer_features(prior: Model, pool: LayerTable) -> Floats:
    """(units, d) features for `choose` of a model that is transferred from a prior of another processor.

    The unknowns are by how much each group of terms, and each term, differs from the prior's, and the residual of the
    ratio of both.
    """
    deviation = [prior.physics.group_deviations[group] for group in (*prior.physics.groups, UNIT_GROUP)]
    return _features(prior, pool, np.minimum(deviation, _LARGEST_DEVIATION), prior.physics.ratio_beliefs)


def fresh_features(physics: Physics, pool: LayerTable) -> Floats:
    """(units, d) features for `choose` of a model that is fitted from nothing but physics.

    The unknowns are by how much each group of terms, and each term, differs from the nominal machine's, and the
    residual.
    """
    nominal = Model(physics, np.ones(len(physics.term_names)), 1.0, ())
    return _features(nominal, pool, np.full(len(physics.term_names) + 1, _LARGEST_DEVIATION), physics.beliefs)


def _features(model: Model, pool: LayerTable, deviation: Floats, beliefs: Sequence[Smoothness]) -> Floats:
    """What each unknown may change of each unit, as a share of its latency; `deviation` (t + 1,) is the terms'."""
    physics, costs = model.physics, model.physical(pool)
    shares = np.zeros((len(costs.unit_ms), len(deviation)))
    np.add.at(shares[:, :-1], pool.owner, costs.terms_ms)
    shares[:, -1] = model.unit_coefficient * physics.unit_ms
    shares *= deviation / np.maximum(costs.unit_ms, np.finfo(np.float64).tiny)[:, None]
    names = (*physics.groups, UNIT_GROUP)
    together = [shares[:, [name == group for name in names]].sum(1) for group in dict.fromkeys(names)]
    columns = [np.stack(together, axis=1), shares * OWN_SHARE]
    families, descriptors = physics.family(pool), physics.descriptors(pool)
    for family, belief in enumerate(beliefs):
        chosen = np.flatnonzero(families == family)
        if len(chosen):
            basis = _basis(descriptors[chosen], belief, physics.max_points)
            columns.append(np.zeros((len(families), basis.shape[1])))
            columns[-1][chosen] = basis
    return np.asarray(np.hstack(columns), np.float64)


def _basis(descriptors: Floats, belief: Smoothness, max_points: int) -> Floats:
    """(n, m + 1) a residual function's regressors, each scaled so that its weight has variance 1."""
    from scipy.linalg import cholesky, solve_triangular

    scaled = descriptors / np.array(belief.length)
    points = spread_points(scaled, max_points)
    inner = covariance(points, points)
    inner[np.diag_indices_from(inner)] += 1e-8
    smooth = solve_triangular(cholesky(inner, lower=True), covariance(points, scaled), lower=True).T
    # What a family has in common, so that one of each is measured.
    constant = np.full((len(descriptors), 1), belief.constant_deviation)
    return np.hstack([constant, smooth * belief.deviation])


def _mean_cost(scaled: Floats, nearest: Floats) -> Floats:
    """(n,) for each row of the pool, the mean cost of all rows once that row is measured too."""
    means = [
        np.minimum(nearest[:, None], _cost(scaled, scaled[first : first + _CHUNK])).mean(0)
        for first in range(0, len(scaled), _CHUNK)
    ]
    return np.concatenate(means) if means else np.zeros(0)


def _cost(rows: Floats, others: Floats) -> Floats:
    """(n, m) root of the standard deviation of a row's latency as predicted from one other row's."""
    squares = np.square(rows).sum(1)[:, None] + np.square(others).sum(1)[None, :] - 2 * rows @ others.T
    return np.asarray(np.maximum(squares, 0) ** 0.25, np.float64)


def _scaled(features: Floats, prior_precision: float | Floats) -> Floats:
    """The features by which unknowns of precision 1 differ."""
    if features.ndim != 2 or not np.isfinite(features).all():
        raise UserError("plan: the features must be a table of finite numbers")
    precision = np.asarray(prior_precision, np.float64)
    if precision.shape not in {(), features.shape[1:]} or not (np.isfinite(precision) & (precision > 0)).all():
        raise UserError(f"plan: the prior precision must be one positive number, or {features.shape[1]}")
    return np.asarray(features / np.sqrt(precision), np.float64)


def _check(pool: int, count: int, measured: Sequence[int]) -> None:
    if wrong := [row for row in measured if not 0 <= row < pool]:
        raise UserError(f"plan: there is no row {wrong[0]} in a pool of {pool}")
    left = pool - len(set(measured))
    if not 0 <= count <= left:
        raise UserError(f"plan: {count} rows cannot be chosen of {left} that were not measured")
