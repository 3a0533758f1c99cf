"""A process of its own for each runtime, stopped while the others run: no spinning thread disturbs another runtime."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mnv3c.graph.ir import Array
from peers.runtime import Runtime

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LOAD_TIMEOUT_S = 300.0
_BURST_TIMEOUT_S = 120.0


class WorkerError(Exception):
    """The runtime failed, crashed or hung; the message is one line."""


@dataclass(frozen=True)
class Job:
    """What a worker loads and where it may run."""

    runtime: Runtime
    model: Path
    x: Array
    threads: int
    cpus: tuple[int, ...]


@dataclass(frozen=True)
class Burst:
    """`warmup` inferences that are not timed, since the caches belong to others by then, and `timed` that are."""

    warmup: int
    timed: int


def serve(connection: Connection, job: Job) -> None:
    """Load the network, answer with its outputs, then answer each Burst with its times in ms."""
    # A runtime that prints must not do so into our table.
    os.dup2(2, 1)
    _end_with_parent()
    try:
        # Before the runtime is imported: its threads inherit the mask, and it counts the CPUs that it may use.
        pin(job.cpus)
        session = job.runtime.load(job.model, job.x, job.threads)
        session.infer()
        connection.send(session.outputs())
        while (burst := connection.recv()) is not None:
            for _ in range(burst.warmup):
                session.infer()
            connection.send([_timed_ms(session.infer) for _ in range(burst.timed)])
    except EOFError:
        return
    except Exception as error:
        connection.send(WorkerError(" ".join(f"{type(error).__name__}: {error}".split())))


class Worker:
    """The parent's handle. Use as a context manager; between calls the process is stopped."""

    def __init__(self, job: Job) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=serve, args=(theirs, job), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()

    def outputs(self) -> tuple[Array, ...]:
        """What the network answered. To be called once, first. Raises WorkerError."""
        outputs: tuple[Array, ...] = self._receive(_LOAD_TIMEOUT_S)
        return outputs

    def times_ms(self, burst: Burst) -> list[float]:
        """Run a burst. Raises WorkerError."""
        self._signal(signal.SIGCONT)
        try:
            self._connection.send(burst)
        except OSError:
            raise WorkerError(self._death()) from None
        times: list[float] = self._receive(_BURST_TIMEOUT_S)
        return times

    def _receive(self, timeout_s: float) -> Any:
        if not self._connection.poll(timeout_s):
            # It would disturb the others.
            self._process.kill()
            raise WorkerError(f"no answer within {timeout_s:.0f} s")
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerError(self._death()) from None
        if isinstance(answer, WorkerError):
            raise answer
        self._signal(signal.SIGSTOP)
        # Returns once every thread of it stands still.
        os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return answer

    def _death(self) -> str:
        self._process.join(5.0)
        return f"its process ended with exit status {self._process.exitcode}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process.exitcode is None:
            os.kill(self._pid, number)

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid


def pin(cpus: tuple[int, ...]) -> None:
    """Run this process on these CPUs only, where the system can do so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def separate_cores() -> tuple[int, ...]:
    """CPUs that this process may use, one hardware thread of each core."""
    if not hasattr(os, "sched_getaffinity"):
        return tuple(range(os.cpu_count() or 1))
    chosen: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        chosen.setdefault(siblings.read_text() if siblings.is_file() else str(cpu), cpu)
    return tuple(chosen.values())


def _end_with_parent() -> None:
    # An interrupt is the parent's business, which kills its workers; a killed parent would leave stopped ones behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _timed_ms(infer: Callable[[], None]) -> float:
    begin = time.perf_counter_ns()
    infer()
    return (time.perf_counter_ns() - begin) / 1e6
