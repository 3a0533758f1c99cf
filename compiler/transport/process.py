"""A command with a time limit, its input and its output, whose whole process group ends with it."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

from mnv3c.compiler.transport.host import CompletedBench
from mnv3c.graph.errors import MissingError

_KILLED = -signal.SIGKILL


class ProcessRunner:
    """Runs commands one after another, each in a process group of its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str], given: bytes, limit_s: float) -> CompletedBench:
        """Run a command with `given` on stdin. One that takes longer than `limit_s` is killed: returncode -9.

        Raises MissingError where it cannot be started.
        """
        process = self._start(command)
        try:
            stdout, stderr = process.communicate(given, timeout=limit_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            stdout, stderr = process.communicate()
        return CompletedBench(stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"), process.returncode)

    def interrupt(self) -> None:
        """Kill the command that is running, from another thread."""
        with self._lock:
            if self._process is not None:
                _kill(self._process)

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        with self._lock:
            pipe = subprocess.PIPE
            try:
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
            except OSError as error:
                raise MissingError(f"cannot run {command[0]}: {error.strerror}") from error
            return self._process


def was_killed(done: CompletedBench) -> bool:
    """Whether the command was ended by the limit, or by `interrupt`."""
    return done.returncode == _KILLED


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
