"""Which candidate to measure next: a Gaussian process over parameters and layers, and the improvement it expects.

What is modelled is the logarithm of a candidate's time over the first guess's. Before anything is measured the family's
own order counts: a candidate further down is expected to be a little slower. Measurements of a layer tell most about
its own candidates, and some about those of similar layers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.work import given_tensors, output_of, parts_of

Floats = npt.NDArray[np.float64]

_RANK_SLOPE = 0.03  # expected log of the time ratio per doubling of the rank
_PARAMETER_SCALE = 0.7  # in doublings of a parameter
_LAYER_SCALE = 2.0  # in doublings of an extent
_SAME_LAYER = 0.5  # share of the variance that a layer does not share with others
_NOISE_STD = 0.02
# What is believed of the spread before anything is measured, and how many measurements that belief is worth: of all
# candidates, and of a candidate about what its neighbours suggest (a tile that divides the layer or does not).
_PRIOR_STD, _PRIOR_SAMPLES = 0.3, 8
_PRIOR_JUMP_STD, _PRIOR_JUMPS = 0.1, 2
_MOST_SAMPLES = 300


@dataclass(frozen=True)
class Sample:
    """A measured candidate: its layer, its place in the family's order, and log(time / time of the first guess)."""

    task: Task
    index: int
    log_ratio: float


def expected_improvement(task: Task, remaining: Sequence[int], samples: Sequence[Sample]) -> Floats:
    """For each remaining candidate (by index) the share of the layer's best time that it is expected to save.

    `samples` may be of any layers; those of the same family count. There must be one of this layer.
    """
    own = [sample.log_ratio for sample in samples if sample.task is task]
    mean, std = _predicted(task, remaining, samples)
    gain = min(own) - mean
    z = gain / std
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z])
    return np.asarray(np.maximum(gain * below + std * density, 0.0))


def distinct(task: Task, remaining: Sequence[int], values: Floats, count: int) -> list[tuple[int, float]]:
    """At most `count` of the remaining, best value first, where each taken lowers the value of those like it."""
    features, values = _parameter_features(task, remaining), values.copy()
    taken: list[tuple[int, float]] = []
    for _ in range(min(count, len(remaining))):
        at = int(np.argmax(values))
        taken.append((remaining[at], float(values[at])))
        values *= 1.0 - _similarity(features, features[at : at + 1], _PARAMETER_SCALE)[:, 0]
        values[at] = -1.0
    return taken


def _predicted(task: Task, remaining: Sequence[int], samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the remaining candidates' log ratios."""
    family = task.candidates[0].family
    useful = [sample for sample in samples if sample.task.candidates[0].family == family]
    useful.sort(key=lambda sample: _distance(sample.task, task))
    useful = useful[:_MOST_SAMPLES]
    names = _parameter_names([task, *(sample.task for sample in useful)])
    known = np.array([_parameters(sample.task, sample.index, names) for sample in useful])
    wanted = np.array([_parameters(task, index, names) for index in remaining])
    layers = _layer_features([sample.task for sample in useful])
    same = np.array([[sample.task is other.task for other in useful] for sample in useful])
    residual = np.array([sample.log_ratio - _prior(sample.index) for sample in useful])
    std = _spread([value for value, sample in zip(residual.tolist(), useful, strict=True) if sample.index])
    jump = _jumps(residual, _similarity(known, known, _PARAMETER_SCALE) * same) / std
    between = _similarity(known, known, _PARAMETER_SCALE) * _shared(_similarity(layers, layers, _LAYER_SCALE), same)
    own = np.array([sample.task is task for sample in useful])
    here = _similarity(_layer_features([task]), layers, _LAYER_SCALE)
    across = _similarity(wanted, known, _PARAMETER_SCALE) * _shared(here, own[None, :])
    noise = (_NOISE_STD / std) ** 2 + jump**2
    solved = np.linalg.solve(between + noise * np.eye(len(useful)), np.column_stack([residual, across.T]))
    mean = np.array([_prior(index) for index in remaining]) + across @ solved[:, 0]
    variance = 1.0 - np.einsum("ij,ji->i", across, solved[:, 1:])
    return mean, std * np.sqrt(np.maximum(variance, 0.0) + jump**2)


def _spread(residuals: Sequence[float]) -> float:
    """Standard deviation of log ratios about their prior; few of them change little about what is believed before."""
    total = sum(value * value for value in residuals) + _PRIOR_SAMPLES * _PRIOR_STD**2
    return math.sqrt(total / (len(residuals) + _PRIOR_SAMPLES))


def _jumps(residual: Floats, similarity: Floats) -> float:
    """Standard deviation between a candidate and what its nearest neighbour in the same layer suggests."""
    near = similarity - np.diag(np.diag(similarity))
    has_neighbour = near.max(axis=1) > 0.0
    gaps = (residual - residual[near.argmax(axis=1)])[has_neighbour]
    total = 0.5 * float((gaps**2).sum()) + _PRIOR_JUMPS * _PRIOR_JUMP_STD**2
    return math.sqrt(total / (int(has_neighbour.sum()) + _PRIOR_JUMPS))


def _prior(index: int) -> float:
    return _RANK_SLOPE * math.log2(1 + index)


def _shared(layers: Floats, same: npt.NDArray[np.bool_]) -> Floats:
    return np.where(same, 1.0, (1.0 - _SAME_LAYER) * layers)


def _similarity(one: Floats, other: Floats, scale: float) -> Floats:
    squared = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-0.5 * squared / scale**2))


def _distance(one: Task, other: Task) -> float:
    if one is other:
        return -1.0
    return float(np.abs(_layer_features([one]) - _layer_features([other])).sum())


def _layer_features(tasks: Sequence[Task]) -> Floats:
    rows = []
    for task in tasks:
        given, y = given_tensors(task.work), output_of(task.work)
        x = given[0].type
        windows = [math.prod(getattr(part.op, "kernel", (1, 1))) for part in parts_of(task.work)]
        extents = (*x.spatial, x.channels, *y.spatial, y.channels, math.prod(windows))
        rows.append([*map(math.log2, extents), float(len(given)), float(len(windows))])
    return np.array(rows, np.float64)


def _parameter_features(task: Task, indices: Sequence[int]) -> Floats:
    names = _parameter_names([task])
    return np.array([_parameters(task, index, names) for index in indices])


def _parameter_names(tasks: Sequence[Task]) -> list[str]:
    unique = {id(task): task for task in tasks}.values()
    return sorted({name for task in unique for candidate in task.candidates for name in candidate.parameters})


def _parameters(task: Task, index: int, names: Sequence[str]) -> list[float]:
    """The candidate's parameters in doublings, and whether it is of the first one's family."""
    candidate = task.candidates[index]
    values = [math.log2(1 + abs(candidate.parameters.get(name, 0))) for name in names]
    return [*values, 0.0 if candidate.family == task.candidates[0].family else 2.0 * _PARAMETER_SCALE]
