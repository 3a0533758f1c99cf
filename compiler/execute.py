"""Run an artifact: its bench, natively or under an emulator, on a given input."""

import json
import math
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mnv3c.compiler.manifest import FileEntry, Manifest, PortEntry, file_entry, read_manifest
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.compiler.transport.host import CompletedBench, run_bench
from mnv3c.graph.errors import MissingError, UserError

Place = Literal["host", "emulator"]
Array = npt.NDArray[np.float32]

# How platform.machine() spells an architecture on other systems.
_SPELLINGS = {"AMD64": "x86_64", "arm64": "aarch64"}
_SIGILL = -4
_WRONG_USAGE = 2  # the bench's exit status


@dataclass(frozen=True)
class Execution:
    """What a run gave. `measured_ms` is None under an emulator, whose time says nothing about any device."""

    outputs: tuple[Array, ...]
    on: str
    measured_ms: float | None


@dataclass(frozen=True)
class Artifact:
    """A compiled network on disk."""

    directory: Path
    manifest: Manifest

    @staticmethod
    def open(directory: Path) -> "Artifact":
        """Raises UserError where the folder holds no artifact."""
        if not directory.is_dir():
            raise UserError(f"{directory}: no such folder; make an artifact with mnv3c compile")
        return Artifact(directory, read_manifest(directory / "manifest.yaml"))

    @property
    def bench(self) -> Path:
        """The bench executable."""
        return self.directory / self.manifest.files["bench"].path

    def place(self, wanted: Place | None) -> Place:
        """Where to run: as wanted, else natively if this machine has the architecture."""
        if wanted is not None:
            return wanted
        return "host" if host_architecture() == self.manifest.architecture else "emulator"

    def execute(self, values: Array | None, place: Place, threads: int = 1, runs: int = 0) -> Execution:
        """Run the network on `values` (None: the built-in check input); time it `runs` times where that has a meaning.

        Raises UserError for an input of the wrong shape, MissingError where it cannot be run in that place.
        """
        require_bench(self.bench, self.manifest.files["bench"])
        with tempfile.TemporaryDirectory(prefix="mnv3c-run-") as folder:
            arguments = ["--json", "--threads", str(threads), "--output", f"{folder}/output.bin"]
            arguments += ["--runs", str(runs if place == "host" else 0), "--warmup", "3" if runs else "0"]
            if values is not None:
                arguments += ["--input", write_input(values, self.manifest.input, Path(folder) / "input.bin")]
            done, on = self._run(arguments, place)
            self._require_success(done, on)
            outputs = read_outputs(Path(folder) / "output.bin", self.manifest.outputs, self.bench)
        measured = json.loads(done.stdout).get("median_ms") if place == "host" and runs else None
        return Execution(outputs, on, measured)

    def _run(self, arguments: Sequence[str], place: Place) -> tuple[CompletedBench, str]:
        if place == "host":
            return run_bench(self.bench, arguments), "host"
        emulator = find_emulator(self.manifest.architecture)
        return emulator.run_bench(self.bench, arguments), f"emulator ({emulator.version})"

    def _require_success(self, done: CompletedBench, on: str) -> None:
        if done.returncode == _SIGILL:
            raise MissingError(
                f"{self.bench.name} was compiled for {self.manifest.device}, whose instructions the {on} does not have"
            )
        if done.returncode == _WRONG_USAGE:
            raise UserError(done.stderr.strip().splitlines()[-1])
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise MissingError(f"{self.bench.name} on {on}: {lines[-1] if lines else f'exit status {done.returncode}'}")


def host_architecture() -> str:
    """This machine's architecture as manifests spell it."""
    machine = platform.machine()
    return _SPELLINGS.get(machine, machine)


def require_bench(bench: Path, described: FileEntry) -> None:
    """After this, what the bench writes and prints can be trusted to be what the manifest says.

    Raises MissingError, UserError.
    """
    if not bench.is_file():
        raise MissingError(f"{bench}: no such file; compile again")
    if file_entry(bench) != described:
        raise UserError(f"{bench} is not the file that manifest.yaml describes; compile again")


def write_input(values: Array, port: PortEntry, path: Path) -> str:
    """Write what the bench reads, and return its path. Raises UserError for another shape than the network takes."""
    if values.shape != port.shape:
        takes = f"{list(port.shape)} ({port.layout})"
        raise UserError(f"the input has shape {list(values.shape)}, the network takes {takes}")
    path.write_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return str(path)


def read_outputs(path: Path, ports: Sequence[PortEntry], bench: Path) -> tuple[Array, ...]:
    """The outputs that the bench wrote. Raises UserError where they are not of the manifest's size."""
    flat = np.fromfile(path, dtype="<f4")
    ends = list(accumulate((math.prod(port.shape) for port in ports), initial=0))
    if ends[-1] != flat.size:
        raise UserError(f"{bench.name} gave {flat.size} values, its manifest.yaml says {ends[-1]}")
    return tuple(flat[start:end].reshape(port.shape) for start, end, port in zip(ends, ends[1:], ports, strict=False))
