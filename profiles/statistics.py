"""What repeated timings say: a median with its confidence interval, their spread, and whether they can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flag = Literal["few", "warm-up", "outliers", "drift", "noisy"]

CONFIDENCE = 0.95
_RESAMPLES = 2000
_MAD_TO_STD = 1.4826  # of normally distributed values
_OUTLIER_SCORE = 3.5  # Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993
_FEW = 5  # with fewer values the interval of a median is wider than they are apart
_DRIFT_LEVEL_Z = 2.576  # two-sided, 1 %
_LEAST_DRIFT = 0.02
_OUTLIER_SHARE = 0.1
_WARM_UP_SHARE = 0.5


@dataclass(frozen=True)
class Summary:
    """Statistics of `n` values in their unit; the `warm_up` first ones were left out of everything else.

    `ci_low` and `ci_high` bound the median with 95 % confidence (bootstrap, percentile method). `std` is the sample's
    standard deviation. `noise` is the larger distance from the median to a bound, `drift` the change from the first
    value to the last along the Theil-Sen line, both relative to the median. `outliers` counts values whose modified
    z-score exceeds 3.5; they stay in, as a median bears them.

    Flags: `few` (fewer than 5 values), `warm-up` (leading values were left out), `outliers` (over a tenth), `drift`
    (Mann-Kendall significant at 1 %, and 2 % or more), `noisy` (noise above the bound that was asked for).
    """

    n: int
    median: float
    p10: float
    p90: float
    std: float
    ci_low: float
    ci_high: float
    noise: float
    drift: float
    outliers: int
    warm_up: int
    flags: tuple[Flag, ...]


def summarise(values: Sequence[float] | Floats, max_noise: float = math.inf, seed: int = 0) -> Summary:
    """Statistics of timings in the order in which they were taken.

    `max_noise` is relative to the median; beyond it the summary is flagged `noisy`, and should not be reported.
    Deterministic for a seed. Raises ValueError where there is no value, or one is not finite and positive.
    """
    given: Floats = np.asarray(values, dtype=np.float64)
    if given.size == 0 or not np.all(np.isfinite(given)) or not np.all(given > 0):
        raise ValueError("timings must be finite and positive, and at least one")
    warm_up = warm_up_length(given)
    kept = given[warm_up:]
    median = float(np.median(kept))
    low, high = bootstrap_interval(kept, seed)
    noise = max(median - low, high - median) / median
    outliers = int(np.count_nonzero(_scores(kept) > _OUTLIER_SCORE))
    change = drift(kept)
    found: dict[Flag, bool] = {
        "few": kept.size < _FEW,
        "warm-up": warm_up > 0,
        "outliers": outliers > _OUTLIER_SHARE * kept.size,
        "drift": abs(change) >= _LEAST_DRIFT and has_trend(kept),
        "noisy": noise > max_noise or (math.isfinite(max_noise) and kept.size < 2),
    }
    p10, p90 = (float(x) for x in np.quantile(kept, (0.1, 0.9)))
    std = float(np.std(kept, ddof=1)) if kept.size > 1 else 0.0
    flags = tuple(flag for flag, raised in found.items() if raised)
    return Summary(kept.size, median, p10, p90, std, low, high, noise, change, outliers, warm_up, flags)


def bootstrap_interval(values: Floats, seed: int = 0) -> tuple[float, float]:
    """Bounds of the median with 95 % confidence: the percentile bootstrap of Efron, 2000 resamples."""
    generator = np.random.default_rng(seed)
    resampled = values[generator.integers(0, values.size, (_RESAMPLES, values.size))]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(resampled, axis=1), (tail, 1 - tail))
    return float(low), float(high)


def warm_up_length(values: Floats) -> int:
    """How many leading values are slower than all that follows: at most half of them.

    A leading value belongs to the warm-up as long as it lies above the median of the second half by more than 3.5 of
    that half's standard deviations (by the median absolute deviation), and above its largest value.
    """
    most = int(values.size * _WARM_UP_SHARE)
    steady = values[most:]
    if most == 0:
        return 0
    centre = float(np.median(steady))
    bound = max(centre + _OUTLIER_SCORE * _robust_std(steady), float(steady.max()))
    slower = values[:most] > bound
    return most if bool(slower.all()) else int(np.argmin(slower))


def drift(values: Floats) -> float:
    """Change from the first value to the last along the Theil-Sen line, relative to the median."""
    if values.size < 2:
        return 0.0
    first, second = np.triu_indices(values.size, k=1)
    slope = float(np.median((values[second] - values[first]) / (second - first)))
    return slope * (values.size - 1) / float(np.median(values))


def has_trend(values: Floats) -> bool:
    """Mann-Kendall's test, two-sided at 1 %, without correction for ties (they make it more careful)."""
    n = values.size
    if n < _FEW:
        return False
    first, second = np.triu_indices(n, k=1)
    score = float(np.sign(values[second] - values[first]).sum())
    variance = n * (n - 1) * (2 * n + 5) / 18
    return max(abs(score) - 1, 0.0) / math.sqrt(variance) > _DRIFT_LEVEL_Z


def _scores(values: Floats) -> Floats:
    """Modified z-scores; 0 throughout where most values are equal."""
    std = _robust_std(values)
    distances: Floats = np.abs(values - np.median(values))
    return distances / std if std > 0 else np.zeros_like(distances)


def _robust_std(values: Floats) -> float:
    return _MAD_TO_STD * float(np.median(np.abs(values - np.median(values))))
