"""A tuning run that is killed at any moment loses nothing that it finished, and goes on when it is started again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.graph.activation import RELU
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.yaml_io import save_graph

KILLS = 3
_PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pointwise layers: some hundred candidates."""
    nodes = (
        Node("x", Input((1, 14, 14, 24))),
        Node("a", Conv2d(40, (1, 1), bias=True), ("x",)),
        Node("b", Conv2d(72, (1, 1), bias=True, activation=RELU), ("a",)),
        Node("c", Conv2d(48, (1, 1), bias=True), ("b",)),
    )
    path = tmp_path_factory.mktemp("graph") / "three.yaml"
    save_graph(initialise(Graph("three", nodes, ("c",)), 0), path)
    return path


def start(graph_file: Path, records: Path, budget_s: float, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mnv3c", "tune", str(graph_file), "--records", str(records)]
    return subprocess.Popen(
        [*command, "--budget", str(budget_s), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "MNV3C_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder)},
    )


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def wait_for_lines(process: "subprocess.Popen[str]", path: Path, count: int) -> None:
    end = time.monotonic() + _PATIENCE_S
    while len(lines_of(path)) < count and process.poll() is None:
        assert time.monotonic() < end, "nothing was recorded"
        time.sleep(0.005)


def wait_for_an_object(process: "subprocess.Popen[str]", cache: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not list(cache.rglob("*.o")) and process.poll() is None:
        assert time.monotonic() < end, "nothing was built"
        time.sleep(0.005)


def wait_for_group_to_end(group: int) -> None:
    """The workers of a killed run must not outlive it for long."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("a worker outlived the run")


def test_kill_and_resume(graph_file: Path, tmp_path: Path) -> None:
    path, chance = tmp_path / "records.jsonl", random.Random(3)
    before: list[bytes] = []
    for _ in range(KILLS):
        process = start(graph_file, path, 600.0, tmp_path)
        wait_for_lines(process, path, len(before) + chance.randrange(5))
        time.sleep(0.5 * chance.random())
        process.kill()
        process.communicate()
        wait_for_group_to_end(process.pid)
        after = lines_of(path)
        assert after[: len(before)] == before
        before = after
    # As if it had been killed in the middle of a line.
    with path.open("ab") as file:
        file.write(before[0][: len(before[0]) // 2] if before else b"{")
    process = start(graph_file, path, 5.0, tmp_path)
    _, errors = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, errors
    assert lines_of(path)[: len(before)] == before
    records: tuple[Record, ...] = RecordStore(path).records
    assert len(records) == len(lines_of(path)) == len({record.key for record in records})
    assert {record.status for record in records} == {"ok"}


@pytest.mark.parametrize("phase", ["building", "measuring"])
def test_ctrl_c_keeps_what_is_finished(graph_file: Path, tmp_path: Path, phase: str) -> None:
    path = tmp_path / "records.jsonl"
    process = start(graph_file, path, 600.0, tmp_path)
    if phase == "building":
        wait_for_an_object(process, tmp_path / "cache")
    else:
        wait_for_lines(process, path, 1)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 130, errors
    assert (output, errors) == ("", "mnv3c: interrupted; finished work is kept\n")
    wait_for_group_to_end(process.pid)
    assert len(RecordStore(path).records) == len(lines_of(path)) >= (phase == "measuring")
    assert list((tmp_path / "cache").rglob("*.o"))
    assert list(tmp_path.glob("mnv3c-*")) == []
