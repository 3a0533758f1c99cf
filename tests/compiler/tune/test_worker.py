"""A worker process under requests that take, print or hide too much, and without the process that started it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnv3c.compiler.tune.worker import Handler, IsolatedWorker, RequestFailedError, WorkerDiedError, printable

ROOT = Path(__file__).resolve().parents[3]
STRANGE = "\x00\x1b[31m\ud800\n\t end"
_PATIENCE_S = 60.0


def troublesome() -> Handler:
    def handle(request: object) -> object:
        match request:
            case "hoard":
                return len(bytearray(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4))
            case "print":
                while True:
                    os.write(1, bytes(1 << 20))
            case "strange":
                raise ValueError(STRANGE)
            case "quit":
                raise SystemExit(7)
            case "die":
                os.abort()
            case "sleep":
                time.sleep(600.0)
        return request

    return handle


@pytest.fixture
def worker() -> Iterator[IsolatedWorker]:
    made = IsolatedWorker(troublesome)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ("hoard", "MemoryError:"),
        ("print", r"OSError: \[Errno 27\] File too large"),
        ("strange", r"ValueError: \?\?\[31m\? end"),
        (lambda: "a function that has no name", "lambda"),
    ],
    ids=["hoard", "print", "strange", "unpicklable"],
)
def test_what_fails_costs_the_request_only(worker: IsolatedWorker, request_: object, reason: str) -> None:
    assert worker.call("before", 60.0) == "before"
    with pytest.raises(RequestFailedError, match=reason):
        worker.call(request_, 60.0)
    assert (worker.call("after", 60.0), worker.starts) == ("after", 1)


def test_a_worker_that_quits_has_crashed(worker: IsolatedWorker) -> None:
    with pytest.raises(WorkerDiedError, match="exit status 7") as death:
        worker.call("quit", 60.0)
    assert death.value.status == "crash"


def test_last_words_are_of_the_last_request(worker: IsolatedWorker) -> None:
    with pytest.raises(RequestFailedError):
        worker.call("print", 60.0)
    with pytest.raises(WorkerDiedError) as death:
        worker.call("die", 60.0)
    assert str(death.value) == "SIGABRT"


def test_printable_is_one_short_line() -> None:
    assert printable(STRANGE) == "??[31m? end"
    assert printable("x" * 10_000) == "x" * 160
    assert printable(" a\n\n b ", 2) == "a "


def test_a_worker_ends_with_its_parent_in_the_middle_of_work(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.compiler.tune.test_worker import troublesome\n"
        "from mnv3c.compiler.tune.worker import IsolatedWorker\n"
        "if __name__ == '__main__':\n"
        "    worker = IsolatedWorker(troublesome)\n"
        "    worker.call('ready', 60.0)\n"
        "    print('ready', flush=True)\n"
        "    worker.call('sleep', 600.0)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(program, encoding="utf-8")
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.kill()
    process.communicate()
    end = time.monotonic() + _PATIENCE_S
    while _group_lives(process.pid):
        assert time.monotonic() < end, "the worker outlived its parent"
        time.sleep(0.02)


def _group_lives(group: int) -> bool:
    """Whether a process of the group has not ended; who inherits those that have may be slow to say so."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            return True
    return False
