"""`--cluster`: tables and sweeps by Dask; workers that are killed, and a scheduler that goes away."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.cli.conftest import Mnv3c
from tests.search.test_space import TINY

pytestmark = pytest.mark.xdist_group("dask")
# 286 networks: those that are left when something is killed take a second.
SIDES = "32..176:8"
DASK = "distributed.cli.dask_"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(TINY)
    return ("lut", "--space", str(path), "--resolutions", SIDES, "--device", "edgetpu-like", "--json", "-o")


@pytest.fixture(scope="module")
def table(mnv3c: Mnv3c, words: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What comes out without a cluster."""
    folder = tmp_path_factory.mktemp("alone")
    mnv3c(*words, folder).require_success()
    return (folder / "lut.json").read_bytes()


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def address_in(scheduler_file: Path) -> str:
    """The scheduler's; empty while the file is not written."""
    text = scheduler_file.read_text() if scheduler_file.exists() else ""
    return text.partition('"address": "')[2].partition('"')[0]


def test_a_killed_worker_changes_nothing(words: tuple[str, ...], table: bytes, tmp_path: Path) -> None:
    kept = tmp_path / "networks.jsonl"
    with running("-m", "mnv3c", *words, tmp_path, "--cluster", "local:2") as process:
        wait_for(lambda: lines_of(kept) > 2)
        # What else is done would be kept while the workers are sought.
        process.send_signal(signal.SIGSTOP)
        children = psutil.Process(process.pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        workers[0].send_signal(signal.SIGKILL)
        done = lines_of(kept)
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=180)
    assert (process.returncode, stderr) == (0, "")
    assert done < lines_of(kept)
    assert (tmp_path / "lut.json").read_bytes() == table


def test_a_scheduler_that_goes_away_costs_nothing_that_is_done(
    mnv3c: Mnv3c, words: tuple[str, ...], table: bytes, tmp_path: Path
) -> None:
    file, kept = tmp_path / "scheduler.json", tmp_path / "t" / "networks.jsonl"
    where = ("--host", "127.0.0.1", "--no-dashboard")
    with (
        running("-m", f"{DASK}scheduler", *where, "--port", 0, "--scheduler-file", file) as scheduler,
        running("-m", f"{DASK}worker", *where, "--scheduler-file", file, "--no-nanny", "--nthreads", 1,
                "--local-directory", tmp_path),
    ):  # fmt: skip
        wait_for(lambda: bool(address_in(file)))
        address = address_in(file)
        axes = ("--sweep", "rows=8,16,32", "--sweep", "cols=8,16,32")
        sweep = ("emulate", "small", "--resolution", "32", *axes, "--json")
        assert mnv3c(*sweep, "--cluster", address).document == mnv3c(*sweep).document
        with running("-m", "mnv3c", *words, tmp_path / "t", "--cluster", address) as process:
            wait_for(lambda: lines_of(kept) > 2)
            scheduler.send_signal(signal.SIGKILL)
            stdout, stderr = process.communicate(timeout=180)
    assert (process.returncode, stdout) == (3, "")
    assert stderr == (
        f"mnv3c: --cluster {address}: the scheduler went away; finished work is kept in {kept}, and the same command "
        "goes on there\n"
    )
    before = kept.read_bytes()
    assert lines_of(kept) > 2 and not (tmp_path / "t" / "lut.json").exists()
    outcome = mnv3c(*words, tmp_path / "t", "--cluster", address)
    assert outcome.code == 3 and f"--cluster {address}: no scheduler answers" in outcome.message
    mnv3c(*words, tmp_path / "t").require_success()
    assert (tmp_path / "t" / "lut.json").read_bytes() == table
    assert kept.read_bytes().startswith(before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("lut", "--space", "proxylessnas", "--device", "edgetpu-like", "-o", "t"), "--cluster must be local, local:N"),
        (("lut", "--space", "proxylessnas", "--on", "host", "-o", "t"), "--cluster must be local, local:N"),
        (("emulate", "small", "--sweep", "rows=8,16"), "--cluster must be local, local:N, tcp://HOST:PORT, slurm"),
        (("emulate", "small"), "--cluster is for sweeps"),
        (("emulate", "small", "--sweep", "rows=8", "--processes", "2"), "--processes are those of this machine"),
    ],
)
def test_mistakes_are_told_in_a_line(
    mnv3c: Mnv3c, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = mnv3c(*given, "--cluster", "udp://here:1")
    assert outcome.code == 2 and message in outcome.message
    assert not (tmp_path / "t").exists()
