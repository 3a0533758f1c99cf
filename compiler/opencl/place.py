"""Where a bench finds an OpenCL: on this machine, or on one that its files are brought to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mnv3c.compiler.execute import host_architecture
from mnv3c.compiler.opencl.installation import opencl_environment
from mnv3c.compiler.opencl.manifest import GpuManifest
from mnv3c.compiler.transport.host import CompletedBench, run_bench
from mnv3c.graph.errors import UserError

_LIMIT_S = 600.0  # for kernels to be compiled and a network to be run, on anything


@dataclass(frozen=True)
class BenchCall:
    """The words that a bench is called with, and its options that name files: those it reads, those it writes.

    `limit_s` bounds how long a device far away may take.
    """

    words: tuple[str, ...]
    given: Mapping[str, Path] = field(default_factory=dict)
    wanted: Mapping[str, Path] = field(default_factory=dict)
    limit_s: float = _LIMIT_S


class OpenClPlace(Protocol):
    """A machine with an OpenCL."""

    @property
    def name(self) -> str | None:
        """How the user named it, as ssh:board; None for this machine."""

    def run(self, bench: Path, manifest: GpuManifest, call: BenchCall) -> CompletedBench:
        """Run the bench of that manifest. What it was to write is there afterwards if it ended with status 0.

        Raises UserError where the bench is for another processor or system, MissingError where the place cannot be
        reached or has no OpenCL to look for.
        """


@dataclass(frozen=True)
class LocalOpenCl:
    """This machine's OpenCL; with `pocl` PoCL's device, else whatever OpenCL offers first."""

    pocl: bool = False
    name: None = None

    def run(self, bench: Path, manifest: GpuManifest, call: BenchCall) -> CompletedBench:
        require_architecture(bench, manifest, host_architecture(), "this machine")
        files = [str(word) for pair in (*call.given.items(), *call.wanted.items()) for word in pair]
        return run_bench(bench, [*call.words, *files], opencl_environment(pocl=self.pocl))


def require_architecture(bench: Path, manifest: GpuManifest, found: str, where: str) -> None:
    """Raise UserError where the bench is for another processor than the one found."""
    if found != manifest.architecture:
        raise UserError(
            f"{bench.name} was linked for a GPU beside an {manifest.architecture} processor, {where} has {found}:"
            f" compile the network again for {found}"
        )
