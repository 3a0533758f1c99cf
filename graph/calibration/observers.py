"""What is kept of a tensor over all samples: its extremes, and a histogram of fixed size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnv3c.graph.ir import Array

Counts = npt.NDArray[np.int64]

# On either side of zero. At least half of a side is in use, so a bin is at most 1/8 of a step of 8-bit integers.
SIDE_BINS_LOG2 = 12
SIDE_BINS = 1 << SIDE_BINS_LOG2
# Widths below are not told apart: the bins would be subnormal numbers.
_LEAST_EXPONENT = -100


@dataclass(frozen=True, eq=False)
class Distribution:
    """The values of one tensor: `low` and `high` are the exact extremes.

    `counts[i]` values lie in [edges[i], edges[i + 1]), where edges[i] = (i - SIDE_BINS) * bin_width; `counts` is empty
    where no histogram was kept.
    """

    low: float
    high: float
    counts: Counts
    bin_width: float

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Borders of the bins, one more than there are bins."""
        return np.asarray((np.arange(self.counts.size + 1) - SIDE_BINS) * self.bin_width, np.float64)


class Observer:
    """Takes in the values of one tensor, array by array, in memory that does not grow.

    Bins are powers of two wide and aligned at zero. When a value falls outside, pairs of bins are joined until it does
    not, so the result is the histogram of all values at the final width, whatever their order.
    """

    def __init__(self, histogram: bool) -> None:
        self._low, self._high = np.inf, -np.inf
        self._counts = np.zeros(2 * SIDE_BINS if histogram else 0, np.int64)
        self._exponent = _LEAST_EXPONENT

    def update(self, values: Array) -> None:
        """Takes in one array. Raises ValueError for a value that is not finite."""
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("holds values that are not finite")
        self._low, self._high = min(self._low, low), max(self._high, high)
        if self._counts.size:
            self._widen(max(abs(low), abs(high)))
            index = np.floor(np.ldexp(values.ravel(), -self._exponent)).astype(np.int64) + SIDE_BINS
            self._counts += np.bincount(index, minlength=self._counts.size)

    def distribution(self) -> Distribution:
        """What was seen so far. Raises ValueError before the first update."""
        if self._low > self._high:
            raise ValueError("has seen no values")
        return Distribution(self._low, self._high, self._counts.copy(), float(np.ldexp(1.0, self._exponent)))

    def _widen(self, magnitude: float) -> None:
        # frexp: magnitude < 2 ** exponent, so floor(magnitude / bin width) < SIDE_BINS.
        needed = int(np.frexp(magnitude)[1]) - SIDE_BINS_LOG2 if magnitude > 0.0 else _LEAST_EXPONENT
        while self._exponent < needed:
            if not self._counts.any():
                self._exponent = needed
                return
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.zeros_like(self._counts)
            self._counts[SIDE_BINS // 2 : SIDE_BINS // 2 + SIDE_BINS] = pairs
            self._exponent += 1
