"""How far predictions are from measurements, in the figures that papers report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError

Floats = npt.NDArray[np.float64]
# Latencies come as decimal text: 1.1 against 1.0 is 10 %, whatever binary arithmetic says.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Predictions:
    """What was measured, what was predicted for it, and the bounds of its 90 % interval where there are any.

    All arrays are (n,), in one unit. Raises UserError for arrays of different lengths, for bounds of one side only, and
    for latencies that are not positive and finite.
    """

    measured: Floats
    predicted: Floats
    low: Floats | None = None
    high: Floats | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise UserError("predictions: an interval needs both low and high")
        for name in ("measured", "predicted", "low", "high"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != (len(self.measured),):
                raise UserError(f"predictions: {name} has shape {np.shape(values)}, measured ({len(self.measured)},)")
        for name in ("measured", "predicted"):
            values = getattr(self, name)
            wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
            if len(wrong):
                row = int(wrong[0])
                raise UserError(f"predictions: {name} must be positive and finite, row {row} is {values[row]:g}")

    @property
    def errors(self) -> Floats:
        """(n,) relative errors, predicted / measured - 1."""
        return np.asarray(self.predicted / self.measured - 1, np.float64)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Predictions":
        """The rows chosen by mask or index."""
        low = None if self.low is None else self.low[rows]
        high = None if self.high is None else self.high[rows]
        return Predictions(self.measured[rows], self.predicted[rows], low, high)


@dataclass(frozen=True)
class Metrics:
    """Errors of `n` predictions, each relative to what was measured: e = predicted / measured - 1.

    In percent: `mape` the mean of |e|, `rmspe` the root of the mean of e^2, `within_5` and `within_10` the share of
    rows with |e| at most 5 % and 10 %, `bias` the mean of e, `coverage_90` the share of rows whose measurement lies in
    their 90 % interval. In -1..1: `spearman`, the correlation of ranks, and `kendall`, tau-b. None where a figure is
    undefined: each of no rows, a correlation of fewer than two rows or of equal values, a coverage without intervals.
    """

    n: int
    mape: float | None
    rmspe: float | None
    within_5: float | None
    within_10: float | None
    spearman: float | None
    kendall: float | None
    bias: float | None
    coverage_90: float | None

    @staticmethod
    def of(predictions: Predictions) -> "Metrics":
        """The figures of these predictions."""
        error = predictions.errors
        size = np.abs(error)
        spearman, kendall = _correlations(predictions)
        square = _mean(np.square(error))
        return Metrics(
            n=len(error),
            mape=_percent(size),
            rmspe=None if square is None else 100 * square**0.5,
            within_5=_percent(size <= 0.05 + _ROUNDING),
            within_10=_percent(size <= 0.10 + _ROUNDING),
            spearman=spearman,
            kendall=kendall,
            bias=_percent(error),
            coverage_90=_coverage(predictions),
        )

    def as_json(self) -> dict[str, float | int | None]:
        """The figures by name; None, which JSON writes as null, where undefined."""
        return asdict(self)

    def __str__(self) -> str:
        percents = (
            ("MAPE", self.mape),
            ("RMSPE", self.rmspe),
            ("within 10 %", self.within_10),
            ("bias", self.bias),
            ("90 % interval covers", self.coverage_90),
        )
        parts = [f"{name} {value:.2f} %" for name, value in percents if value is not None]
        rank = [] if self.spearman is None else [f"Spearman {self.spearman:.3f}"]
        return ", ".join([f"n {self.n}", *parts, *rank])


def metrics_by_group(groups: Sequence[str], predictions: Predictions) -> dict[str, Metrics]:
    """The metrics of each group of rows, groups in alphabetical order; `groups` (n,) names each row's.

    Raises UserError where there are not as many names as rows.
    """
    if len(groups) != len(predictions.measured):
        raise UserError(f"metrics: {len(groups)} groups for {len(predictions.measured)} predictions")
    names = np.array(groups, dtype=np.str_)
    return {name: Metrics.of(predictions.take(names == name)) for name in sorted(set(groups))}


def worst_rows(predictions: Predictions, count: int) -> tuple[int, ...]:
    """Indices of the rows that are off by the largest factor, up or down, worst first; by index where equal."""
    size = np.abs(np.log(predictions.predicted / predictions.measured))
    return tuple(int(row) for row in np.argsort(-size, kind="stable")[:count])


def _correlations(predictions: Predictions) -> tuple[float | None, float | None]:
    """Spearman's rank correlation and Kendall's tau-b."""
    measured, predicted = predictions.measured, predictions.predicted
    if len(measured) < 2 or np.ptp(measured) == 0 or np.ptp(predicted) == 0:
        return None, None
    from scipy.stats import kendalltau, spearmanr

    return float(spearmanr(measured, predicted).statistic), float(kendalltau(measured, predicted).statistic)


def _coverage(predictions: Predictions) -> float | None:
    if predictions.low is None or predictions.high is None:
        return None
    return _percent((predictions.low <= predictions.measured) & (predictions.measured <= predictions.high))


def _percent(values: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> float | None:
    mean = _mean(values)
    return None if mean is None else 100 * mean


def _mean(values: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> float | None:
    return float(np.mean(values)) if len(values) else None
