"""`mnv3c run` of a network that was compiled for a GPU: where there is an OpenCL, labelled as what it is."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.graph.errors import MissingError, UserError

if TYPE_CHECKING:
    from mnv3c.compiler.execute import Array, Execution
    from mnv3c.compiler.opencl.execute import InstalledGpuArtifact
    from mnv3c.compiler.opencl.place import OpenClPlace

_PANEL = "GPUs"
_PLACES = "host, pocl, ssh:[USER@]HOST[:PORT], adb:SERIAL"
_PROFILE_RUNS = 20

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


CheckOption = Annotated[
    bool, typer.Option("--check", help="Compare the check input's outputs with those stored.", rich_help_panel=_PANEL)
]
ProfileOption = Annotated[
    bool, typer.Option("--profile", help="Time each layer, by the device's own time stamps.", rich_help_panel=_PANEL)
]


@dataclass(frozen=True)
class GpuRunOptions:
    """What the command line said of the OpenCL to run on."""

    on: str | None
    runs: int
    tune: Path | None
    tuning: Path | None
    check: bool = False
    profile: bool = False
    ssh_options: tuple[str, ...] = ()

    def refuse(self, directory: Path) -> None:
        """Raises UserError where one was given for a folder that holds no program for GPUs."""
        given = {
            f"on {self.on}": self._far or self.on == "pocl",
            "tune": self.tune is not None,
            "tuning": self.tuning is not None,
            "check": self.check,
            "profile": self.profile,
            "ssh-option": bool(self.ssh_options),
        }
        for name, is_given in given.items():
            if is_given:
                raise UserError(f"--{name} is for programs of GPUs, and {directory} holds none")

    @property
    def _far(self) -> bool:
        kind, _, where = (self.on or "").partition(":")
        return kind in ("ssh", "adb") and where != ""

    @contextmanager
    def place(self) -> "Iterator[OpenClPlace]":
        """Where to run; it is left as it was found. Raises UserError for options that exclude others."""
        from mnv3c.compiler.measure.places import find_machines
        from mnv3c.compiler.opencl.place import LocalOpenCl
        from mnv3c.compiler.opencl.remote import remote_opencl

        if self.tune is not None and self.tuning is not None:
            raise UserError("--tune makes what --tuning reads: leave one out")
        if self.ssh_options and not (self.on or "").startswith("ssh:"):
            raise UserError("--ssh-option is for --on ssh:[USER@]HOST[:PORT]")
        if self.on in (None, "host", "pocl"):
            yield LocalOpenCl(self.on == "pocl")
            return
        if not self._far:
            raise UserError(f"--on: '{self.on}' is not one of {_PLACES}, the places of a GPU's program")
        # Only TVM's servers, which are none of these places, need a library.
        (machine,) = find_machines([str(self.on)], self.ssh_options, Path)
        with remote_opencl(machine) as place:
            yield place


@dataclass(frozen=True)
class GpuRun:
    """What `mnv3c run` tells: `facts` for its JSON, `lines` for its text."""

    execution: "Execution"
    on: str
    facts: dict[str, Any]
    lines: tuple[str, ...]


def execute_gpu(artifact: "InstalledGpuArtifact", values: "Array | None", options: GpuRunOptions) -> GpuRun:
    """Check and tune where that was asked for, then run.

    Raises as `InstalledGpuArtifact.execute` does, and MissingError where the outputs of `--check` are wrong.
    """
    facts: dict[str, Any] = {}
    lines = []
    if options.check:
        facts["check"] = _checked(artifact)
        lines.append(f"  check passed: relative error {facts['check']['relative_error']:.3g}")
    if options.tune is not None:
        report = artifact.tune(options.tune)
        facts["tuned"] = [row for row in report["tuned"] if row["tried"] > 1]
    tuning = options.tune or options.tuning
    execution = artifact.execute(values, options.runs, tuning)
    label = _Label.of(execution.on, artifact.place.name)
    if options.tune is not None:
        lines.append(_tuned_line(facts["tuned"], options.tune, label.where))
    if execution.measured_ms is not None:
        facts["measured_ms"] = execution.measured_ms
        lines.append(f"  measured on {label.where}: median {execution.measured_ms:.3f} ms, transfers included")
    if options.profile:
        facts["profile"] = artifact.profile(max(options.runs, _PROFILE_RUNS), tuning)
        lines += _profile_lines(facts["profile"], label.where)
    return GpuRun(execution, label.whole, facts, tuple(lines))


def _checked(artifact: "InstalledGpuArtifact") -> dict[str, Any]:
    report = artifact.check()
    if not report["passed"]:
        raise MissingError(
            f"check failed: relative error {report['relative_error']:.3g}, at most {report['tolerance']:.3g} is allowed"
        )
    return report


@dataclass(frozen=True)
class _Label:
    """How a place is told: `whole` with its device, `where` for times. Of PoCL also that no phone is meant."""

    whole: str
    where: str

    @staticmethod
    def of(on: str, far: str | None) -> "_Label":
        """Of "PLATFORM: DEVICE", on this machine or a far one."""
        from mnv3c.compiler.opencl.installation import POCL_PLATFORM

        platform, _, device = on.partition(": ")
        if platform == POCL_PLATFORM:
            where = f"PoCL on {f'the CPU of {far}' if far else 'this CPU'} (no phone's latency)"
            return _Label(f"{where}: {device}", where)
        whole = f"{far}: {on}" if far else on
        return _Label(whole, whole)


def _profile_lines(report: dict[str, Any], where: str) -> list[str]:
    parts = ", ".join(
        f"{name} {report[key]:.3f}"
        for name, key in (
            ("input", "write_ms"),
            ("kernels", "kernel_ms"),
            ("outputs", "read_ms"),
            ("launches and gaps", "overhead_ms"),
        )
    )
    rows = [
        f"    {row['median_us']:9.1f} us  {row['name']}  {row['kernel']} by {'x'.join(map(str, row['work_group']))}"
        for row in report["layers"]
    ]
    return [f"  profiled on {where}, in ms: {parts}", *rows]


def _tuned_line(rows: list[dict[str, Any]], path: Path, where: str) -> str:
    """How much faster the best work-groups are than the compiler's, by the times of single launches."""
    changed = Counter(row["best_us"] < row["compiler_us"] for row in rows)[True]
    before, after = (sum(row[key] for row in rows) for key in ("compiler_us", "best_us"))
    times = f"{before:.0f} -> {after:.0f} us for {len(rows)} kernels, {changed} changed"
    return f"  tuned on {where}: {times}; kept in {path}"
