"""What MetaSchedule's search asks which schedules to try: kernel ridge regression on TVM's features of each.

TVM's own models need xgboost or torch. This one needs NumPy alone, and with a few dozen measurements of one layer there
is little for a larger one to learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Below that the search picks at random, as TVM's models do.
_FEWEST_SAMPLES = 8
_MOST_SAMPLES = 512
# Variance of the noise, as a share of that of the log times: features do not tell all.
_NOISE = 0.1
_CONSTANT = 1e-9  # a feature that spreads less is the same for all


class LatencyModel:
    """Predicts the logarithm of a latency from a vector of features."""

    def __init__(self) -> None:
        self._features: list[Floats] = []
        self._log_us: list[float] = []
        self._fit: _Fit | None = None

    def add(self, features: Sequence[Floats], latencies_us: Sequence[float]) -> None:
        """Learn from measured schedules."""
        self._features = [*self._features, *features][-_MOST_SAMPLES:]
        self._log_us = [*self._log_us, *np.log(latencies_us)][-_MOST_SAMPLES:]
        self._fit = None

    def predict(self, features: Sequence[Floats]) -> Floats | None:
        """Expected logarithms of latencies; None while too little is known."""
        if len(self._log_us) < _FEWEST_SAMPLES:
            return None
        self._fit = self._fit or _Fit.of(np.array(self._features), np.array(self._log_us))
        return self._fit.predict(np.array(features))


@dataclass(frozen=True)
class _Fit:
    """Ridge regression with a Gaussian kernel of squared width `width` over standardised features."""

    known: Floats
    mean: Floats
    scale: Floats
    width: float
    base: float
    weights: Floats

    @staticmethod
    def of(features: Floats, values: Floats) -> "_Fit":
        mean, scale = np.asarray(features.mean(axis=0)), np.asarray(features.std(axis=0))
        scale[scale < _CONSTANT] = 1.0
        known = (features - mean) / scale
        squares = _squares(known, known)
        width = 2.0 * max(float(np.median(squares)), _CONSTANT)
        base = float(values.mean())
        solved = np.linalg.solve(np.exp(-squares / width) + _NOISE * np.eye(len(known)), values - base)
        return _Fit(known, mean, scale, width, base, np.asarray(solved, np.float64))

    def predict(self, features: Floats) -> Floats:
        similar = np.exp(-_squares((features - self.mean) / self.scale, self.known) / self.width)
        return np.asarray(self.base + similar @ self.weights)


def pooled(stores: npt.NDArray[np.float32]) -> Floats:
    """One vector for a schedule from TVM's features of each of its stores, (stores, features)."""
    rows = np.nan_to_num(np.asarray(stores, np.float64))
    return np.concatenate([rows.mean(axis=0), rows.max(axis=0)])


def _squares(one: Floats, other: Floats) -> Floats:
    products = one @ other.T
    lengths = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :]
    return np.asarray(np.maximum(lengths - 2.0 * products, 0.0))
