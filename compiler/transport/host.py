"""Run a bench on this machine."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnv3c.graph.errors import MissingError


@dataclass(frozen=True)
class CompletedBench:
    """What a bench printed, and its exit status; negative: minus the number of the signal that ended it."""

    stdout: str
    stderr: str
    returncode: int


def run_bench(
    bench: Path, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> CompletedBench:
    """Run NAME-bench on this machine, in this process's environment or in another, and wait for it.

    Raises `MissingError` when the system cannot start it, for example since it is for another processor.
    """
    return run_command((str(bench.resolve()), *arguments), environment)


def run_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> CompletedBench:
    """Run a command and collect its output. Raises `MissingError` when the system cannot start it."""
    try:
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False, env=environment
        )
    except OSError as error:
        raise MissingError(f"cannot run {command[0]}: {error.strerror}") from error
    return CompletedBench(result.stdout, result.stderr, result.returncode)
