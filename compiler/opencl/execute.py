"""Run a network that was compiled for a GPU, through the OpenCL of this machine: its bench, on a given input."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnv3c.compiler.execute import Array, Execution, host_architecture, read_outputs, require_bench, write_input
from mnv3c.compiler.manifest_file import MANIFEST_NAME, read_document
from mnv3c.compiler.opencl.installation import opencl_environment
from mnv3c.compiler.opencl.manifest import GpuManifest
from mnv3c.compiler.transport.host import run_bench
from mnv3c.graph.errors import MissingError, UserError

_UNSUITABLE, _MISSING = 2, 3  # the bench's exit statuses


@dataclass(frozen=True)
class InstalledGpuArtifact:
    """A compiled network on disk. With `pocl` it runs on PoCL's device, else on whatever OpenCL offers first."""

    directory: Path
    manifest: GpuManifest
    pocl: bool = False

    @staticmethod
    def open(directory: Path, *, pocl: bool = False) -> "InstalledGpuArtifact":
        """Raises UserError where the folder holds no artifact for GPUs."""
        if not directory.is_dir():
            raise UserError(f"{directory}: no such folder; make an artifact with mnv3c compile")
        return InstalledGpuArtifact(directory, read_document(GpuManifest, directory / MANIFEST_NAME), pocl)

    @property
    def bench(self) -> Path:
        """The bench executable."""
        return self.directory / self.manifest.files["bench"].path

    def execute(self, values: Array | None, runs: int = 0, tuning: Path | None = None) -> Execution:
        """Run the network on `values` (None: the built-in check input); time it `runs` times.

        `tuning` is a file that `tune` wrote. `Execution.on` names platform and device. Raises UserError for an input of
        the wrong shape and for a network that the device's limits exclude, MissingError without OpenCL or device, and
        where the driver refuses a kernel.
        """
        with tempfile.TemporaryDirectory(prefix="mnv3c-run-") as folder:
            output = Path(folder) / "output.bin"
            arguments = ["--runs", str(max(runs, 1)), "--warmup", "3" if runs else "0", "--output", str(output)]
            if values is not None:
                arguments += ["--input", write_input(values, self.manifest.input, Path(folder) / "input.bin")]
            if tuning is not None:
                arguments += ["--tuning", str(tuning)]
            document = self.report(arguments)
            outputs = read_outputs(output, self.manifest.outputs, self.bench)
        on = f"{document['platform']}: {document['device']}"
        return Execution(outputs, on, document["median_ms"] if runs else None)

    def check(self) -> dict[str, Any]:
        """What `--check` reports: the outputs' deviations from the stored ones, and whether they passed."""
        return self.report(["--check"], failing=True)

    def profile(self, runs: int = 20) -> dict[str, Any]:
        """What `--profile` reports: a row for each layer, transfers and launches apart."""
        return self.report(["--profile", "--runs", str(runs)])

    def tune(self, path: Path, tries: int = 24, runs: int = 5) -> dict[str, Any]:
        """Try `tries` work-groups of each kernel on the device, keep the best in `path`; the bench's report."""
        arguments = ["--tune", str(path), "--tries", str(tries)]
        return self.report([*arguments, "--profile", "--runs", str(runs), "--warmup", "1"])

    def report(self, arguments: Sequence[str], *, failing: bool = False) -> dict[str, Any]:
        """The JSON that the bench prints; with `failing` also where its exit status is 1. Raises as `execute` does."""
        require_bench(self.bench, self.manifest.files["bench"])
        self._require_machine()
        done = run_bench(self.bench, ["--json", *arguments], opencl_environment(pocl=self.pocl))
        if done.returncode != 0 and not (failing and done.returncode == 1 and done.stdout):
            raise self._error(done.returncode, done.stderr.strip())
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def _require_machine(self) -> None:
        here, there = host_architecture(), self.manifest.architecture
        if here != there:
            raise UserError(
                f"{self.bench.name} was linked for a GPU beside an {there} processor, this machine has {here}:"
                f" compile the network again for {here}"
            )

    def _error(self, status: int, stderr: str) -> Exception:
        # What stands before our own message is the driver's.
        message = stderr.rpartition(f"{self.bench.name}: ")[2] or f"{self.bench.name}: exit status {status}"
        return UserError(message) if status == _UNSUITABLE else MissingError(message)
