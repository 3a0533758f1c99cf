"""A process of its own for work that may crash or never end: it costs that work only."""

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, Literal

from mnv3c.graph.errors import MissingError

Handler = Callable[[Any], Any]
_START_LIMIT_S = 120.0
# The worker's own alarm ends it at the limit, even where this process has died; this is for one that cannot be alarmed.
_GRACE_S = 5.0
_MESSAGE_CHARACTERS = 160


class WorkerDiedError(Exception):
    """The worker process ended while it worked: `status` says how, the message why."""

    def __init__(self, status: Literal["crash", "timeout"], reason: str) -> None:
        super().__init__(reason)
        self.status: Literal["crash", "timeout"] = status


class RequestFailedError(Exception):
    """The work raised an exception; the message is its text."""


class IsolatedWorker:
    """Runs requests one after another in a fresh Python process, and starts another where one has died.

    `make_handler`, a function that can be pickled, is called there once and gives what answers the requests.
    """

    def __init__(self, make_handler: Callable[[], Handler]) -> None:
        self._make_handler = make_handler
        self._process: Any = None
        self._connection: Connection | None = None
        self._said: BinaryIO | None = None
        self.starts = 0

    def call(self, request: object, limit_s: float) -> Any:
        """The answer to a request.

        Raises RequestFailedError where it raised an exception, WorkerDiedError where the process crashed or took longer
        than `limit_s`, and MissingError where that was raised or no process can be started.
        """
        connection = self._started()
        try:
            connection.send((request, limit_s))
            answered = connection.poll(limit_s + _GRACE_S)
            kind, answer = connection.recv() if answered else ("late", None)
        except (EOFError, OSError):
            raise self._death(limit_s) from None
        if kind == "late":
            self.close()
            raise WorkerDiedError("timeout", _too_long(limit_s))
        if kind == "missing":
            raise MissingError(answer)
        if kind == "failed":
            raise RequestFailedError(answer)
        return answer

    @property
    def alive(self) -> bool:
        """Whether the process that answered last is there to answer the next request."""
        return self._connection is not None

    def close(self) -> None:
        """End the process; the next call starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._said is not None:
            self._said.close()
            self._said = None

    def _started(self) -> Connection:
        if self._connection is not None:
            return self._connection
        # Spawned, not forked: a fork of a process with TVM's threads can hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        handle, path = tempfile.mkstemp(prefix="mnv3c-worker-")
        self._said = os.fdopen(handle, "rb")
        self._process = context.Process(target=_serve, args=(theirs, self._make_handler, path), daemon=True)
        # Ctrl-C reaches all processes of a terminal; the worker leaves it to this one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._connection, self.starts = ours, self.starts + 1
        try:
            ready = ours.poll(_START_LIMIT_S) and ours.recv()
        except EOFError:
            ready = None
        # Both have it open: without a name nothing is left behind, however they end.
        Path(path).unlink(missing_ok=True)
        if not ready:
            message = self._last_words()
            self.close()
            raise MissingError(f"no worker process can be started: {message or 'it ended at once'}")
        return ours

    def _death(self, limit_s: float) -> WorkerDiedError:
        process = self._process
        if process is None:
            return WorkerDiedError("crash", "another thread ended it")
        process.join(_GRACE_S)
        code, words = process.exitcode, self._last_words()
        self.close()
        if code == -signal.SIGALRM:
            return WorkerDiedError("timeout", _too_long(limit_s))
        how = _signal_name(-code) if code is not None and code < 0 else f"exit status {code}"
        return WorkerDiedError("crash", f"{how}: {words}" if words else how)

    def _last_words(self) -> str:
        if self._said is None:
            return ""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return "".join(c if c.isprintable() else "?" for c in last)[:_MESSAGE_CHARACTERS]


def _too_long(limit_s: float) -> str:
    return f"took longer than {limit_s:.3g} s"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _serve(connection: Connection, make_handler: Callable[[], Handler], said: str) -> None:
    output = os.open(said, os.O_WRONLY | os.O_APPEND)
    sys.stdout.flush()
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    handler = make_handler()
    connection.send(True)
    while True:
        try:
            request, limit_s = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        answer = _answer(handler, request)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        try:
            connection.send(answer)
        except ConnectionError:
            return


def _answer(handler: Handler, request: object) -> tuple[str, Any]:
    try:
        return "done", handler(request)
    except MissingError as error:
        return "missing", str(error)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MESSAGE_CHARACTERS]
