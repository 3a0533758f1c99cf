"""`mnv3c run` of a network that was compiled for a GPU: on the OpenCL of this machine, labelled as what it is."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.execute import Array, Execution
    from mnv3c.compiler.opencl.execute import InstalledGpuArtifact

_PANEL = "GPUs"

TuneOption = Annotated[
    Path | None,
    typer.Option(
        "--tune", metavar="FILE", help="Try work-group sizes first, and keep the best in FILE.", rich_help_panel=_PANEL
    ),
]
TuningOption = Annotated[
    Path | None,
    typer.Option("--tuning", metavar="FILE", help="Use the work-groups that --tune kept.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True)
class GpuRunOptions:
    """What the command line said of the OpenCL to run on."""

    on: str | None
    runs: int
    tune: Path | None
    tuning: Path | None

    def refuse(self, directory: Path) -> None:
        """Raises UserError where one was given for a folder that holds no program for GPUs."""
        given = {"on": self.on == "pocl", "tune": self.tune is not None, "tuning": self.tuning is not None}
        for name, is_given in given.items():
            if is_given:
                word = " pocl" if name == "on" else ""
                raise UserError(f"--{name}{word} is for programs of GPUs, and {directory} holds none")

    def pocl(self) -> bool:
        """Whether to take PoCL even where there are other devices. Raises UserError for options that exclude others."""
        if self.on not in (None, "host", "pocl"):
            raise UserError(f"--on: '{self.on}' is not one of host, pocl, the places of a GPU's program")
        if self.tune is not None and self.tuning is not None:
            raise UserError("--tune makes what --tuning reads: leave one out")
        return self.on == "pocl"


@dataclass(frozen=True)
class GpuRun:
    """What `mnv3c run` tells: `facts` for its JSON, `lines` for its text."""

    execution: "Execution"
    on: str
    facts: dict[str, Any]
    lines: tuple[str, ...]


def execute_gpu(artifact: "InstalledGpuArtifact", values: "Array | None", options: GpuRunOptions) -> GpuRun:
    """Tune where that was asked for, then run. Raises as `InstalledGpuArtifact.execute` does."""
    facts: dict[str, Any] = {}
    lines = []
    if options.tune is not None:
        report = artifact.tune(options.tune)
        facts["tuned"] = [row for row in report["tuned"] if row["tried"] > 1]
        lines.append(_tuned_line(facts["tuned"], options.tune))
    execution = artifact.execute(values, options.runs, options.tune or options.tuning)
    if execution.measured_ms is not None:
        facts["measured_ms"] = execution.measured_ms
        lines.append(f"  measured on {_where(execution.on)}: median {execution.measured_ms:.3f} ms, transfers included")
    return GpuRun(execution, _labelled(execution.on), facts, tuple(lines))


def _labelled(on: str) -> str:
    """The platform and its device; of PoCL also that its times are nobody's latencies."""
    platform, _, device = on.partition(": ")
    return f"PoCL on this CPU (no phone's latency): {device}" if _is_pocl(platform) else on


def _where(on: str) -> str:
    return "PoCL on this CPU (no phone's latency)" if _is_pocl(on.partition(": ")[0]) else on


def _is_pocl(platform: str) -> bool:
    from mnv3c.compiler.opencl.installation import POCL_PLATFORM

    return platform == POCL_PLATFORM


def _tuned_line(rows: list[dict[str, Any]], path: Path) -> str:
    """How much faster the best work-groups are than the compiler's, by the times of single launches."""
    changed = Counter(row["best_us"] < row["compiler_us"] for row in rows)[True]
    before, after = (sum(row[key] for row in rows) for key in ("compiler_us", "best_us"))
    return f"  tuned: {before:.0f} -> {after:.0f} us for {len(rows)} kernels, {changed} changed; kept in {path}"
