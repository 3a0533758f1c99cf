"""A process of its own for work that may crash, never end or take all memory: it costs that work only."""

import multiprocessing
import os
import pickle
import resource
import signal
import sys
import tempfile
import threading
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
_LAST_WORDS_BYTES = 1 << 14
# Nothing that a worker writes, an object or its last words, comes near this.
_MOST_FILE_BYTES = 64 << 20
_SHARE_OF_MEMORY = 0.5  # of the machine's, for one worker


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
        self._lock = threading.Lock()
        self.starts = 0

    def call(self, request: object, limit_s: float) -> Any:
        """The answer to a request.

        Raises RequestFailedError where it raised an exception or cannot be sent, WorkerDiedError where the process
        crashed or took longer than `limit_s`, and MissingError where that was raised or no process can be started.
        """
        message = _pickled((request, limit_s))
        connection = self._started()
        try:
            connection.send_bytes(message)
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
        """End the process; the next call starts another. Any thread may call it, also while another does."""
        with self._lock:
            process, connection, said = self._process, self._connection, self._said
            self._process = self._connection = self._said = None
        if process is not None:
            process.kill()
            process.join()
        if connection is not None:
            connection.close()
        if said is not None:
            said.close()

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
        finally:
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
        how = _how_it_ended(code)
        return WorkerDiedError("crash", f"{how}: {words}" if words else how)

    def _last_words(self) -> str:
        with self._lock:
            if self._said is None:
                return ""
            length = self._said.seek(0, os.SEEK_END)
            self._said.seek(max(0, length - _LAST_WORDS_BYTES))
            lines = self._said.read(_LAST_WORDS_BYTES).decode(errors="replace").split("\n")
        return printable(next((line for line in reversed(lines) if line.strip()), ""))


def printable(text: str, characters: int = _MESSAGE_CHARACTERS) -> str:
    """The beginning of a text, as one line without anything that a terminal or a file of records would stumble over."""
    line = " ".join(text[: 8 * characters].split())
    return "".join(c if c.isprintable() else "?" for c in line)[:characters]


def _pickled(message: object) -> bytes:
    try:
        return pickle.dumps(message)
    except Exception as error:
        raise RequestFailedError(printable(f"{type(error).__name__}: {error}")) from error


def _too_long(limit_s: float) -> str:
    return f"took longer than {limit_s:.3g} s"


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "it went silent"
    return _signal_name(-code) if code < 0 else f"exit status {code}"


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
    _limit_resources()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_follow_parent, daemon=True).start()
    handler = make_handler()
    connection.send(True)
    while True:
        try:
            request, limit_s = connection.recv()
        except EOFError:
            return
        # The last words are those of this request; what is printed without end takes no lasting place.
        os.ftruncate(output, 0)
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        answer = _answer(handler, request)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        try:
            connection.send(answer)
        except ConnectionError:
            return


def _limit_resources() -> None:
    """A runaway allocation shall fail here, before the machine runs out of memory and picks whom to kill."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: _MOST_FILE_BYTES,
        resource.RLIMIT_DATA: int(_SHARE_OF_MEMORY * machine_bytes),
    }
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (value, value))


def _follow_parent() -> None:
    """End with the process that started this one, also in the middle of work that would take long yet."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _answer(handler: Handler, request: object) -> tuple[str, Any]:
    try:
        return "done", handler(request)
    except MissingError as error:
        return "missing", str(error)
    except Exception as error:
        return "failed", printable(f"{type(error).__name__}: {error}")
