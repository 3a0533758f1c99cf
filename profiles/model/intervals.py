"""Intervals that were tested: split-conformal, on errors of rows that the model had not seen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mnv3c.profiles.physics.base import Floats

COVERAGE = 0.9
# With fewer rows a family's quantile says little; all rows together then stand for it.
FEWEST = 40
_USUAL_ROWS = 10
ALL = "all"


@dataclass(frozen=True)
class Intervals:
    """(low, high) log ratios of measured to predicted that hold `COVERAGE` of unseen units, by family and for all.

    `correlation` is that of the errors of units of one network, for which units of one group stand.
    """

    ratios: Mapping[str, tuple[float, float]]
    correlation: float

    def of(self, family: str) -> tuple[float, float]:
        """The log ratios of one family's units."""
        return self.ratios.get(family, self.ratios[ALL])


def conformal(log_ratios: Floats, families: Sequence[str], groups: Sequence[str], usual: float) -> Intervals:
    """Intervals from out-of-fold log(measured / predicted), one a row.

    With `FEWEST` rows or more each end leaves out (1 - COVERAGE) / 2, with the finite-sample quantile of Vovk,
    Gammerman and Shafer 2005 ("Algorithmic Learning in a Random World"), here as in Romano, Patterson and Candes 2019
    ("Conformalized Quantile Regression"), section 3. Fewer rows have no such tails: then the errors are taken as
    normal, of a standard deviation to which `usual`, what is usual for such a processor, counts as ten rows.
    """
    names = np.array(families)
    ratios = {ALL: _ends(log_ratios, usual)}
    for name in sorted(set(families)):
        chosen = log_ratios[names == name]
        if len(chosen) >= FEWEST:
            ratios[name] = _ends(chosen, usual)
    return Intervals(ratios, _intraclass_correlation(log_ratios, groups))


def _ends(values: Floats, usual: float) -> tuple[float, float]:
    ordered, n = np.sort(values), len(values)
    if n < FEWEST:
        variance = (_USUAL_ROWS * usual**2 + float(np.square(values).sum())) / (_USUAL_ROWS + n)
        width = NormalDist().inv_cdf((1 + COVERAGE) / 2) * math.sqrt(variance)
        return -width, width
    rank = min(n, math.ceil((n + 1) * (1 + COVERAGE) / 2)) - 1
    return float(ordered[n - 1 - rank]), float(ordered[rank])


def _intraclass_correlation(values: Floats, groups: Sequence[str]) -> float:
    """One-way ANOVA estimate (Fisher 1925, "Statistical Methods for Research Workers", section 38), within 0 to 1."""
    _, index, counts = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    k, n = len(counts), len(values)
    if k < 2 or n <= k:
        return 1.0
    means = np.bincount(index, values) / counts
    between = float((counts * np.square(means - values.mean())).sum()) / (k - 1)
    within = float(np.square(values - means[index]).sum()) / (n - k)
    size = (n - float(np.square(counts).sum()) / n) / (k - 1)
    total = between + (size - 1) * within
    return min(1.0, max(0.0, (between - within) / total)) if total > 0 else 1.0
