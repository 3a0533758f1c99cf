"""From a tensor's values to the range that its integers cover."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mnv3c.graph.calibration.observers import Distribution
from mnv3c.graph.integer.affine import INT8_MAX, INT8_MIN, Affine

CalibrationMethod = Literal["minmax", "percentile", "mse"]
CALIBRATION_METHODS: tuple[CalibrationMethod, ...] = ("minmax", "percentile", "mse")

# The least scale of an activation: float32's epsilon, as in PyTorch's observers (torch.ao.quantization, `eps`).
LEAST_SCALE = float(np.finfo(np.float32).eps)
_MSE_FRACTIONS = np.linspace(1 / 64, 1.0, 64)
_MSE_ROUNDS = 2

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """The real numbers from `low` to `high`; zero lies in between, ends included."""

    low: float
    high: float

    @classmethod
    def around_zero(cls, low: float, high: float) -> "Range":
        """The given interval, stretched to zero."""
        return cls(min(low, 0.0), max(high, 0.0))

    def affine(self) -> Affine:
        """256 integers over the range; zero is one of them, so the range moves by up to half a step.

        The zero point is rounded as TFLite's converter does, ties away from zero. A range that is a point gets scale
        1 / 255: any would do.
        """
        steps = INT8_MAX - INT8_MIN
        width = self.high - self.low if self.high > self.low else 1.0
        scale = float(np.float32(max(width / steps, LEAST_SCALE)))
        zero_point = INT8_MIN - self.low / scale
        nudged = int(np.trunc(zero_point + np.copysign(0.5, zero_point)))
        return Affine(scale, min(max(nudged, INT8_MIN), INT8_MAX))


def chosen_range(distribution: Distribution, method: CalibrationMethod, percentile: float) -> Range:
    """The range for a tensor's integers, never wider than its values and zero.

    minmax: all values. percentile: all but (100 - percentile) percent at either end, to the next border of a bin. mse:
    the ends, of 64 fractions of each extreme, at which rounding and saturation together lose the least in the squared
    mean; found by searching the ends in turn.
    """
    whole = Range.around_zero(distribution.low, distribution.high)
    match method:
        case "minmax":
            return whole
        case "percentile":
            return _percentile_range(distribution, whole, percentile)
        case "mse":
            return _mse_range(distribution, whole)


def _percentile_range(distribution: Distribution, whole: Range, percentile: float) -> Range:
    cumulative = np.cumsum(distribution.counts)
    tail = (1.0 - percentile / 100.0) * float(cumulative[-1])
    first = int(np.searchsorted(cumulative, tail, side="right"))
    last = int(np.searchsorted(cumulative, cumulative[-1] - tail, side="left"))
    edges = distribution.edges
    return Range.around_zero(max(float(edges[first]), whole.low), min(float(edges[last + 1]), whole.high))


def _mse_range(distribution: Distribution, whole: Range) -> Range:
    used = np.flatnonzero(distribution.counts)
    centres = distribution.edges[used] + distribution.bin_width / 2
    counts = distribution.counts[used].astype(np.float64)
    best = whole
    for _ in range(_MSE_ROUNDS):
        for end in ("high", "low"):
            extreme = getattr(whole, end)
            if extreme == 0.0:
                continue
            candidates = [_with_end(best, end, float(extreme * fraction)) for fraction in _MSE_FRACTIONS]
            losses = [_squared_error(candidate, centres, counts) for candidate in candidates]
            # Of equals the widest: the last.
            best = candidates[len(losses) - 1 - int(np.argmin(losses[::-1]))]
    return best


def _with_end(current: Range, end: str, value: float) -> Range:
    return Range(current.low, value) if end == "high" else Range(value, current.high)


def _squared_error(candidate: Range, centres: Values, counts: Values) -> float:
    affine = candidate.affine()
    integers = np.clip(np.rint(centres / affine.scale) + affine.zero_point, INT8_MIN, INT8_MAX)
    error = (integers - affine.zero_point) * affine.scale - centres
    return float(np.dot(counts, error * error))
