"""Run a network that was compiled for a GPU: its bench, on a given input, where there is an OpenCL."""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mnv3c.compiler.execute import Array, Execution, read_outputs, require_bench, write_input
from mnv3c.compiler.manifest_file import MANIFEST_NAME, read_document
from mnv3c.compiler.opencl.manifest import GpuManifest
from mnv3c.compiler.opencl.place import BenchCall, LocalOpenCl, OpenClPlace
from mnv3c.graph.errors import MissingError, UserError

_UNSUITABLE = 2  # the exit status of a bench that was called wrongly, or is too large for the device
# Far more than a phone takes for a run, and for trying work-groups; who asks for more runs gets a day.
_RUN_LIMIT_S, _TUNE_LIMIT_S, _MOST_S = 2.0, 3600.0, 86400.0


@dataclass(frozen=True)
class InstalledGpuArtifact:
    """A compiled network on disk, and where it runs."""

    directory: Path
    manifest: GpuManifest
    place: OpenClPlace

    @staticmethod
    def open(directory: Path, *, pocl: bool = False, place: OpenClPlace | None = None) -> "InstalledGpuArtifact":
        """The artifact, to be run in a place; by default this machine, with `pocl` on PoCL's device alone.

        Raises UserError where the folder holds no artifact for GPUs.
        """
        if not directory.is_dir():
            raise UserError(f"{directory}: no such folder; make an artifact with mnv3c compile")
        manifest = read_document(GpuManifest, directory / MANIFEST_NAME)
        return InstalledGpuArtifact(directory, manifest, place or LocalOpenCl(pocl))

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
            output, given = Path(folder) / "output.bin", {}
            if values is not None:
                given["--input"] = Path(write_input(values, self.manifest.input, Path(folder) / "input.bin"))
            if tuning is not None:
                given["--tuning"] = tuning
            words = ("--runs", str(max(runs, 1)), "--warmup", "3" if runs else "0")
            document = self._report(BenchCall(words, given, {"--output": output}, _limit_s(runs)))
            outputs = read_outputs(output, self.manifest.outputs, self.bench)
        on = f"{document['platform']}: {document['device']}"
        return Execution(outputs, on, document["median_ms"] if runs else None)

    def check(self) -> dict[str, Any]:
        """What `--check` reports: the outputs' deviations from the stored ones, and whether they passed."""
        return self._report(BenchCall(("--check",)), failing=True)

    def profile(self, runs: int = 20, tuning: Path | None = None) -> dict[str, Any]:
        """What `--profile` reports: a row for each layer, transfers and launches apart."""
        given = {"--tuning": tuning} if tuning is not None else {}
        return self._report(BenchCall(("--profile", "--runs", str(runs)), given, limit_s=_limit_s(runs)))

    def tune(self, path: Path, tries: int = 24, runs: int = 5) -> dict[str, Any]:
        """Try `tries` work-groups of each kernel on the device, keep the best in `path`; the bench's report."""
        words = ("--tries", str(tries), "--profile", "--runs", str(runs), "--warmup", "1")
        return self._report(BenchCall(words, wanted={"--tune": path}, limit_s=_TUNE_LIMIT_S))

    def _report(self, call: BenchCall, *, failing: bool = False) -> dict[str, Any]:
        """The JSON that the bench prints; with `failing` also where its exit status is 1. Raises as `execute` does."""
        require_bench(self.bench, self.manifest.files["bench"])
        done = self.place.run(self.bench, self.manifest, replace(call, words=("--json", *call.words)))
        if done.returncode != 0 and not (failing and done.returncode == 1 and done.stdout):
            raise self._error(done.returncode, done.stderr.strip())
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def _error(self, status: int, stderr: str) -> Exception:
        # What stands before our own message is the driver's.
        message = stderr.rpartition(f"{self.bench.name}: ")[2] or f"{self.bench.name}: exit status {status}"
        if status == _UNSUITABLE:
            return UserError(message)
        return MissingError(f"{self.place.name}: {message}" if self.place.name else message)


def _limit_s(runs: int) -> float:
    # --profile runs everything twice.
    return min(BenchCall.limit_s + 2 * runs * _RUN_LIMIT_S, _MOST_S)
