"""What a bench's rounds of one job say, and what becomes of them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from mnv3c.compiler.measure.job import Program
from mnv3c.profiles.statistics import Summary, summarise

_US_PER_MS = 1e3


@dataclass(frozen=True)
class Quantiles:
    """Of the runs of one round, in milliseconds."""

    median_ms: float
    p10_ms: float
    p90_ms: float


@dataclass(frozen=True)
class BenchReport:
    """What a bench printed with --json: of the whole network, and of each row where it was profiled."""

    whole: Quantiles
    rows: tuple[Quantiles, ...]
    cpu_model: str
    clock_hz: float | None


def parse_report(text: str, rows: int) -> BenchReport:
    """Raises ValueError for what no bench of so many rows prints."""
    document = json.loads(text)
    try:
        whole = _quantiles(document, "ms", 1.0)
        layers = tuple(_quantiles(layer, "us", _US_PER_MS) for layer in document["layers"])
        if len(layers) not in (0, rows):
            raise ValueError(f"{len(layers)} layers instead of {rows}")
        return BenchReport(whole, layers, document["cpu_model"], document["frequency_hz"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"a bench's report lacks {error}") from None


def _quantiles(document: Mapping[str, float], unit: str, per_ms: float) -> Quantiles:
    found = Quantiles(*(document[f"{name}_{unit}"] / per_ms for name in ("median", "p10", "p90")))
    # A time of 0 is one that the device's clock cannot resolve.
    if not all(0 < each_ms < math.inf for each_ms in (found.median_ms, found.p10_ms, found.p90_ms)):
        raise ValueError(f"{document.get('name', 'the network')} took {found.median_ms:g} ms")
    return found


@dataclass(frozen=True)
class Timing:
    """A latency over all rounds: `summary` is of the rounds' medians, p10 and p90 are of the runs within rounds.

    All in milliseconds; `runs` are those of all rounds that count.
    """

    summary: Summary
    p10_ms: float
    p90_ms: float
    runs: int


@dataclass
class Samples:
    """Rounds of one job as they come in: `whole` times the network alone, `profiled` its rows."""

    program: Program
    runs: int
    warmup: int
    whole: list[BenchReport] = field(default_factory=list)
    profiled: list[BenchReport] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """Complete rounds."""
        return min(len(self.whole), len(self.profiled)) if self.program.whole else len(self.profiled)

    def add(self, kind: str, report: BenchReport) -> None:
        """Add what one call of the bench said."""
        (self.profiled if kind == "profile" else self.whole).append(report)

    def network(self, max_noise: float) -> Timing:
        """The whole network."""
        return _timing([report.whole for report in self.whole], self.runs, max_noise)

    def row(self, index: int, max_noise: float) -> Timing:
        """One row of the profile."""
        return _timing([report.rows[index] for report in self.profiled], self.runs, max_noise)

    def main(self, max_noise: float) -> Timing:
        """What the job is about: the network, or the layer's own row."""
        return self.network(max_noise) if self.program.whole else self.row(self.program.own_row, max_noise)

    def certain(self, max_noise: float) -> bool:
        """Whether nothing that will be reported is more uncertain than `max_noise`."""
        if "noisy" in self.main(max_noise).summary.flags:
            return False
        rows = range(len(self.program.rows)) if self.program.whole else ()
        return all("noisy" not in self.row(index, max_noise).summary.flags for index in rows)

    @property
    def clock_hz(self) -> float | None:
        """The median of the clocks that the benches read, where the system shows it."""
        clocks = [report.clock_hz for report in (*self.whole, *self.profiled) if report.clock_hz is not None]
        return median(clocks) if clocks else None

    @property
    def cpu_model(self) -> str:
        """What the bench calls the processor."""
        return self.profiled[0].cpu_model


def _timing(rounds: list[Quantiles], runs: int, max_noise: float) -> Timing:
    summary = summarise([each.median_ms for each in rounds], max_noise)
    kept = rounds[summary.warm_up :]
    p10_ms, p90_ms = median(each.p10_ms for each in kept), median(each.p90_ms for each in kept)
    return Timing(summary, p10_ms, p90_ms, runs * len(kept))
