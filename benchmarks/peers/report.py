"""The results as rows, as JSON and as a Markdown table."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.interleave import Dropout, Result
from peers.network import Network

OURS = "mnv3c"
_TIMES = ("median ms", "p10", "p90")
_COLUMNS = ("model", "threads", "runtime", *_TIMES, "theirs / ours", "ours / theirs", "of peak", "max error")


@dataclass(frozen=True)
class Report:
    """Everything that one run found. `peak_gflops` is one core's; None where it could not be measured."""

    network: Network
    results: Sequence[Result]
    dropouts: Sequence[Dropout]
    machine: dict[str, Any]
    peak_gflops: float | None

    def document(self) -> dict[str, Any]:
        """The document of --json. `peak_fraction` is of as many cores as there were threads."""
        return {
            "rows": [self._row(result) for result in self.results],
            "machine": {**self.machine, "peak_gflops_per_core": self.peak_gflops},
            "not_run": [{"runtime": d.runtime, "threads": d.threads, "reason": d.reason} for d in self.dropouts],
        }

    def markdown(self) -> str:
        """The table, one row for each runtime and number of threads, then the verdicts and who did not take part."""
        return "\n".join((*self._table(), "", *self._verdicts(), *self._absent(), "", self._setting())) + "\n"

    def _row(self, result: Result) -> dict[str, Any]:
        return {
            "model": self.network.label,
            "runtime": result.runtime.name,
            "threads": result.threads,
            "precision": result.runtime.precision,
            "median_ms": round(result.percentile_ms(50), 4),
            "p10_ms": round(result.percentile_ms(10), 4),
            "p90_ms": round(result.percentile_ms(90), 4),
            "max_error": result.max_error,
            "agrees": result.agrees,
            "peak_fraction": self._peak_fraction(result),
        }

    def _table(self) -> Iterator[str]:
        yield f"| {' | '.join(_COLUMNS)} |"
        yield f"|---|---:|---|{'---:|' * (len(_COLUMNS) - 3)}"
        for result in self.results:
            times = " | ".join(f"{result.percentile_ms(percent):.3f}" for percent in (50, 10, 90))
            cells = (self.network.label, result.threads, result.runtime.name, times, *self._ratios(result))
            yield f"| {' | '.join(map(str, cells))} | {result.max_error:.1e}{'' if result.agrees else ' WRONG'} |"

    def _ratios(self, result: Result) -> tuple[str, str, str]:
        ours, fraction = self._ours(result.threads), self._peak_fraction(result)
        peak = f"{100 * fraction:.1f} %" if fraction is not None else "-"
        if ours is None or not result.agrees:
            return "-", "-", peak
        ratio = result.percentile_ms(50) / ours.percentile_ms(50)
        return f"{ratio:.3f}", f"{1 / ratio:.3f}", peak

    def _verdicts(self) -> Iterator[str]:
        for threads in sorted({result.threads for result in self.results}):
            ours = self._ours(threads)
            peers = [r for r in self.results if r.threads == threads and r.agrees and not _is_ours(r)]
            if ours is None or not peers:
                continue
            best = min(peers, key=lambda r: r.percentile_ms(50))
            ratio = ours.percentile_ms(50) / best.percentile_ms(50)
            fastest = f"{best.runtime.name}, the fastest peer"
            yield f"- {threads} thread(s): {ours.runtime.name} takes {ratio:.3f} x the time of {fastest}"

    def _absent(self) -> Iterator[str]:
        for dropout in self.dropouts:
            threads = f" with {dropout.threads} thread(s)" if dropout.threads else ""
            yield f"- not run{threads}: {dropout.runtime}: {dropout.reason}"

    def _setting(self) -> str:
        runtimes = ", ".join(f"{name} {version}" for name, version in self.machine["runtimes"].items())
        peak = f"{self.peak_gflops:.0f} GFLOP/s" if self.peak_gflops else "not measured (needs ziglang)"
        samples = f"{self.machine['rounds']} rounds of {self.machine['burst']} inferences each"
        load = f"load {self.machine['load_at_start']:.1f} at the start"
        return f"{self.machine['cpu']}, {load}, peak of one core {peak}; {samples}, interleaved; {runtimes}"

    def _ours(self, threads: int) -> Result | None:
        mine = (r for r in self.results if r.threads == threads and _is_ours(r) and r.agrees)
        return next(mine, None)

    def _peak_fraction(self, result: Result) -> float | None:
        if self.peak_gflops is None or not result.agrees:
            return None
        gflops = 2e-6 * self.network.layers.total_macs / result.percentile_ms(50)
        return round(gflops / (self.peak_gflops * result.threads), 4)


def describe_machine() -> dict[str, Any]:
    """Which machine, and how busy others kept it when the run began."""
    return {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _is_ours(result: Result) -> bool:
    return result.runtime.name.startswith(OURS)


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
