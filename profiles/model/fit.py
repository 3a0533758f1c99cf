"""Fitting a model to measured rows: from nothing but physics, or from models of other processors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.profiles.layer_table import Integers
from mnv3c.profiles.model.coefficients import Belief, Correlated, fit_coefficients
from mnv3c.profiles.model.dataset import Dataset
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.model.residual import Residual, fit_residual, prior_covariance
from mnv3c.profiles.physics.base import UNIT_GROUP, Floats, Physics, Smoothness

# Without priors, the machine may be off its nominal rates by about a factor of e in any direction.
_NOMINAL_DEVIATION = 1.0
# How far off physics is expected to be where no residual will take what is left.
_PHYSICS_ERROR = 0.02
# A term that a prior does without may be needed elsewhere: as if it ran at half the prior's typical rate.
_ABSENT_SCALE = 0.5
# Beyond a cycle and beyond a month, and the squares that a fit computes would overflow.
_SHORTEST_MS, _LONGEST_MS = 1e-9, 1e10
# Of the common factor nothing is believed: a factor of ten either way is nothing unusual.
_ANY_FACTOR = 2.0


def fit(data: Dataset, physics: Physics, priors: Sequence[Model] = ()) -> Model:
    """The model of a processor of this kind; with priors, theirs transferred to it.

    Raises UserError for networks where priors need single units, for priors of another kind of physics, and for
    latencies that nothing has.
    """
    rows, belief, errors = _believed(data, physics, priors)
    *coefficients, unit = fit_coefficients(rows, data.latency_ms, belief, errors)
    model = Model(physics, np.array(coefficients), float(unit), (), tuple(priors))
    if not data.single:
        return model
    left = np.log(data.latency_ms / model.costs(data.table).unit_ms)
    beliefs = physics.ratio_beliefs if priors else physics.beliefs
    return replace(model, residuals=_residuals(data, physics, beliefs, left))


def log_evidence(data: Dataset, physics: Physics, priors: Sequence[Model] = ()) -> float:
    """Logarithm of the probability density of the rows' latencies under what is believed before them.

    Up to a constant, and to first order in the unknown coefficients; by it two readings of the same rows compare.
    Raises UserError as `fit` does.
    """
    rows, belief, errors = _believed(data, physics, priors)
    expected_ms = rows @ belief.mean
    shares = rows * belief.scale / expected_ms[:, None]
    covariance = shares @ belief.covariance @ shares.T + _ANY_FACTOR**2
    for each in errors:
        covariance[np.ix_(each.rows, each.rows)] += each.covariance
    left = np.log(data.latency_ms / expected_ms)
    return -0.5 * float(left @ np.linalg.solve(covariance, left) + np.linalg.slogdet(covariance)[1])


def _believed(data: Dataset, physics: Physics, priors: Sequence[Model]) -> tuple[Floats, Belief, list[Correlated]]:
    """(items, t + 1) terms of the rows, what is believed of their coefficients, and how errors go together."""
    if other := next((prior.physics.name for prior in priors if prior.physics.name != physics.name), None):
        raise UserError(f"a prior of the kind {other} says nothing about the kind {physics.name}")
    if priors and not data.single:
        raise UserError("a prior can be transferred by layers, kernels or blocks, not by whole networks")
    wrong = data.latency_ms[(data.latency_ms < _SHORTEST_MS) | (data.latency_ms > _LONGEST_MS)]
    if len(wrong):
        raise UserError(f"a latency must be from {_SHORTEST_MS:g} to {_LONGEST_MS:g} ms, not {wrong[0]:g}")
    by_layer = physics.terms(data.table)
    rows = np.zeros((len(data), by_layer.shape[1] + 1))
    np.add.at(rows[:, :-1], data.unit_item[data.table.owner], by_layer)
    np.add.at(rows[:, -1], data.unit_item, physics.unit_ms)
    if not data.single:
        return rows, _nominal(physics), _independent(np.arange(len(data)))
    if not priors:
        return rows, _nominal(physics), _errors(data, physics, physics.beliefs)
    families, descriptors = physics.family(data.table), physics.descriptors(data.table)
    # The priors' residuals belong to the shape of a unit, whatever its terms cost here.
    rows *= np.exp(np.mean([prior.log_corrections(families, descriptors) for prior in priors], 0))[:, None]
    belief = _carried_over(physics, rows / data.latency_ms[:, None], priors)
    return rows, belief, _errors(data, physics, physics.ratio_beliefs)


def _errors(data: Dataset, physics: Physics, beliefs: Sequence[Smoothness]) -> list[Correlated]:
    """How errors of rows go together while the residual that will take them is not fitted yet."""
    families, descriptors = physics.family(data.table), physics.descriptors(data.table)
    found = _independent(np.flatnonzero(families < 0))
    for family, belief in enumerate(beliefs):
        rows = np.flatnonzero(families == family)
        if len(rows):
            smooth = prior_covariance(descriptors[rows], belief)
            found.append(Correlated(rows, smooth + belief.noise**2 * np.eye(len(rows))))
    return found


def _independent(rows: Integers) -> list[Correlated]:
    return [Correlated(np.array([row]), np.array([[_PHYSICS_ERROR**2]])) for row in rows]


def _carried_over(physics: Physics, relative: Floats, priors: Sequence[Model]) -> Belief:
    """The priors' coefficients, each prior brought to the speed of these rows first; (n, t) terms over latencies."""
    each = np.array([[*prior.coefficients, prior.unit_coefficient] for prior in priors])
    each /= np.median(relative @ each.T, 0)[:, None]
    mean = each.mean(0)
    scale = np.maximum(mean, _ABSENT_SCALE * float(np.median(mean[mean > 0])))
    deviation, group = _groups(physics)
    # Priors that differ among themselves say how much another one may.
    apart = each.std(0, ddof=1) / scale if len(priors) > 1 else np.zeros(len(mean))
    return Belief(mean, scale, np.maximum(deviation, apart), group)


def _nominal(physics: Physics) -> Belief:
    _, group = _groups(physics)
    ones = np.ones(len(group))
    return Belief(ones, ones, _NOMINAL_DEVIATION * ones, group)


def _groups(physics: Physics) -> tuple[Floats, Integers]:
    """(t + 1,) the deviation and the number of each term's group; the last is what a unit costs beside its layers."""
    names = [*physics.groups, UNIT_GROUP]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    deviations = [physics.group_deviations[name] for name in names]
    return np.array(deviations), np.array([numbers[name] for name in names], np.int64)


def _residuals(data: Dataset, physics: Physics, beliefs: Sequence[Smoothness], left: Floats) -> tuple[Residual, ...]:
    families, descriptors = physics.family(data.table), physics.descriptors(data.table)
    found = []
    for family, belief in enumerate(beliefs):
        chosen = families == family
        if chosen.any():
            found.append(fit_residual(family, left[chosen], descriptors[chosen], belief, physics.max_points))
    return tuple(found)
