"""Workers: this process, others, a Dask cluster of two; what they say of items, and what happens when one is killed."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.search.cluster import open_workers
from mnv3c.search.dask_clusters import slurm_cluster
from mnv3c.search.dask_workers import code_digest
from mnv3c.search.processes import LocalProcesses
from mnv3c.search.workers import HERE, Workers, WorkersLostError, work_kept_in

pytestmark = pytest.mark.xdist_group("dask")
KINDS = ("here", "processes", "dask")


@pytest.fixture(scope="module", autouse=True)
def tests_can_be_imported() -> Iterator[None]:
    """By the processes too, which inherit the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2])
        yield


@pytest.fixture(scope="module")
def dask() -> Iterator[Workers]:
    with open_workers("local:2") as workers:
        yield workers


@pytest.fixture
def workers(request: pytest.FixtureRequest) -> Workers:
    found: Workers
    match request.param:
        case "here":
            found = HERE
        case "processes":
            found = LocalProcesses(2, worth_s=0.0)
        case _:
            found = request.getfixturevalue("dask")
    return found


@dataclass(frozen=True)
class Root:
    """The square root of a number, and the process that found it; killed by -9, the first time."""

    folder: Path

    def __call__(self, number: int) -> tuple[float, int]:
        if number == -9:
            killed = self.folder / "killed"
            if not killed.exists():
                killed.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
        if number == -7:
            raise KeyError(number)
        if -9 < number < 0:
            raise UserError(f"{number} has no root")
        return math.sqrt(abs(number)), os.getpid()


@pytest.mark.parametrize("workers", KINDS, indirect=True)
def test_every_item_comes_with_its_result_or_its_error(workers: Workers, tmp_path: Path) -> None:
    items = [4, -1, *range(9, 60)]
    found = dict(workers.map(Root(tmp_path), iter(items)))
    assert list(found) == items if workers is HERE else sorted(found) == sorted(items)
    error = found.pop(-1)
    assert isinstance(error, UserError) and str(error) == "-1 has no root"
    results = {number: result for number, result in found.items() if not isinstance(result, UserError)}
    assert {number: root for number, (root, _) in results.items()} == {number: math.sqrt(number) for number in found}
    assert list(workers.map(Root(tmp_path), ())) == []


@pytest.mark.parametrize("workers", KINDS, indirect=True)
def test_a_defect_is_not_hidden(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="-7"):
        list(workers.map(Root(tmp_path), [4, 9, -7]))


@pytest.mark.parametrize("workers", KINDS[1:], indirect=True)
def test_items_of_a_killed_worker_are_worked_on_again(workers: Workers, tmp_path: Path) -> None:
    items = [1, 2, 3, -9, *range(4, 30)]
    found = dict(workers.map(Root(tmp_path), items))
    assert {number: result[0] for number, result in found.items() if not isinstance(result, UserError)} == {
        number: math.sqrt(abs(number)) for number in items
    }
    again = found[-9]
    assert not isinstance(again, UserError) and str(again[1]) != (tmp_path / "killed").read_text()


@pytest.mark.parametrize("workers", KINDS, indirect=True)
def test_items_are_taken_as_workers_get_free(workers: Workers, tmp_path: Path) -> None:
    endless = iter(range(10**9))
    results = workers.map(Root(tmp_path), endless)
    assert len({next(results)[0] for _ in range(5)}) == 5
    results.close()  # type: ignore[attr-defined]
    assert next(endless) < 200


def _die(number: int) -> int:
    if number:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_what_kills_every_process_is_given_up(tmp_path: Path) -> None:
    kept = tmp_path / "x.jsonl"
    kept.touch()
    found: list[object] = []
    message = r"4 times a process was killed.*; finished work is kept in .*x\.jsonl"
    with pytest.raises(MissingError, match=message), work_kept_in(kept):
        found += LocalProcesses(2, worth_s=0.0).map(_die, [0, 1])
    for path in (None, tmp_path / "nothing.jsonl"):
        with pytest.raises(WorkersLostError, match=r"^gone$"), work_kept_in(path):
            raise WorkersLostError("gone")


@pytest.mark.parametrize(
    "cluster",
    ["", "locals", "local:0", "local:-1", "local:2000", "slurm:", "tcp://", "tcp://host", "tcp://host:0",
     "tcp://host:65536", "tcp://a b:1", "http://host:1", "tcp://host:1/x", "host:8786"],
)  # fmt: skip
def test_what_names_no_cluster_is_refused_at_once(cluster: str) -> None:
    with pytest.raises(UserError, match=f"--cluster must be local, .* or slurm:JOBS.*, not '{cluster}'"):
        open_workers(cluster)


def test_processes_are_not_those_of_a_cluster() -> None:
    with pytest.raises(UserError, match="--processes"):
        open_workers("local", 2)
    with open_workers(None, 3) as workers:
        assert workers == LocalProcesses(3)


def test_a_cluster_is_joined_only_for_work() -> None:
    with open_workers("tcp://127.0.0.1:9") as workers:
        assert list(workers.map(_die, ())) == []


def test_the_digest_is_that_of_all_sources() -> None:
    command = [sys.executable, "-c", "from mnv3c.search.dask_workers import code_digest as d; print(d())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == code_digest() and len(code_digest()) == 64


def _written(folder: Path) -> list[Path]:
    return [script for script in folder.glob("job-*.sh") if script.stat().st_size]


def test_jobs_of_slurm_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Slurm: `sbatch` keeps the script that it is given."""
    pytest.importorskip("dask_jobqueue")
    import dask

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="there is no sbatch"), slurm_cluster(1):
        pass
    monkeypatch.undo()
    for name, text in (("sbatch", f'cat "$1" > {tmp_path}/job-$$.sh; echo 7'), ("scancel", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(MissingError, match=r"does not say jobqueue\.slurm\.cores"), slurm_cluster(1):
        pass
    job = {"cores": 3, "memory": "6 GB", "queue": "small", "walltime": "00:10:00", "interface": None}
    with dask.config.set({f"jobqueue.slurm.{key}": value for key, value in job.items()}), slurm_cluster(2):
        end_s = time.monotonic() + 60
        while len(scripts := _written(tmp_path)) < 2 and time.monotonic() < end_s:
            time.sleep(0.05)
    text = scripts[0].read_text()
    assert len(scripts) == 2 and "#SBATCH -p small" in text and "--cpus-per-task=3" in text
    assert "--nworkers 3" in text and "--nthreads 1" in text and sys.executable in text
