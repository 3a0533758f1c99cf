"""Real kernels built, checked and timed on this machine; and what becomes of those that do harm."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.compiler.tune.fakes import every_layer_once
from tests.compiler.tune.hostile import CRIMES, RARER_CRIMES, Hostile

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.tune.buffers import GuardedBuffer
from mnv3c.compiler.tune.case import Case
from mnv3c.compiler.tune.host_measure import HostMeasure
from mnv3c.compiler.tune.measure import Measurement, Trial
from mnv3c.compiler.tune.space import Space, Task
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuner import Tuner
from mnv3c.compiler.tune.turns import Turns
from mnv3c.compiler.tune.worker import Handler, IsolatedWorker, RequestFailedError, WorkerDiedError
from mnv3c.graph.activation import HSWISH, RELU
from mnv3c.graph.errors import MissingError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.reference import evaluate
from mnv3c.targets.cpu.kernel import CpuKernel
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device, host_target
from mnv3c.targets.target import GroupWork, LayerWork

HOST = find_device("host")
# With caches so small that the target offers to fuse even small layers.
SMALL_CACHES = HOST.cache.model_copy(update={"l1d_bytes": 16 << 10, "l2_bytes": 16 << 10})
DEVICE = HOST.model_copy(update={"cache": SMALL_CACHES})
TARGET = load_target(DEVICE.target)
QUICK = Turns(trial_turns=2, turns=4, final_turns=8, limit_s=0.2)


def block() -> Graph:
    """Stem, expand, depthwise, project with a residual: layers of every storage, and groups of them."""
    window = (1, 1, 1, 1)
    nodes = (
        Node("x", Input((1, 16, 16, 3), layout="NCHW")),
        Node("stem", Conv2d(24, (3, 3), (2, 2), padding=(0, 0, 1, 1), bias=True, activation=HSWISH), ("x",)),
        Node("expand", Conv2d(72, (1, 1), bias=True, activation=RELU), ("stem",)),
        Node("depthwise", Conv2d(72, (3, 3), padding=window, groups=72, bias=True, activation=RELU), ("expand",)),
        Node("project", Conv2d(24, (1, 1), bias=True, residual="before_activation"), ("depthwise", "stem")),
    )
    return initialise(Graph("block", nodes, ("project",)), 0)


@pytest.fixture(scope="module")
def space() -> Space:
    return Space(block(), TARGET, DEVICE)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FileCache:
    return FileCache(tmp_path_factory.mktemp("cache"))


def host_measure(cache: FileCache, folder: Path, threads: int = 1) -> HostMeasure:
    return HostMeasure(TARGET, DEVICE, cache, folder, threads, QUICK, kernel_limit_s=1.5, build_limit_s=8.0)


@pytest.fixture
def measure(cache: FileCache, tmp_path: Path) -> Iterator[HostMeasure]:
    made = host_measure(cache, tmp_path)
    yield made
    made.close()


def layer_task(space: Space, kind: str) -> Task:
    return next(task for task in space.tasks if isinstance(task.work, LayerWork) and kind in task.layer)


def statuses(measured: list[Measurement]) -> list[str]:
    return [f"{each.status}: {each.reason}" if each.reason else each.status for each in measured]


@pytest.mark.parametrize("threads", [1, 2])
def test_every_layer_and_group_is_measured(space: Space, cache: FileCache, tmp_path: Path, threads: int) -> None:
    assert any(isinstance(task.work, GroupWork) for task in space.tasks) == bool(TARGET.groups())
    measure = host_measure(cache, tmp_path, threads)
    try:
        trials = [Trial(task, None, task.candidates[:2]) for task in space.tasks]
        measured = list(measure(trials, float("inf")))
    finally:
        measure.close()
    assert statuses(measured) == ["ok"] * sum(len(trial.candidates) for trial in trials)
    for each in measured:
        assert each.times is not None and each.times.n >= 2
        assert 0 < each.times.min_us <= each.times.median_us
        assert each.times.baseline == each.task.candidates[0] and each.times.baseline_us > 0
    # Only the layout conversions, which later rounds need too.
    assert len(list(tmp_path.glob("*.so"))) == 1


def test_an_anchor_is_timed_and_not_reported(space: Space, measure: HostMeasure) -> None:
    task = layer_task(space, "1x8x8x24->1x8x8x72")
    first, second, *_ = task.candidates
    (measured,) = measure([Trial(task, first, (second,))], float("inf"))
    assert measured.candidate == second and measured.times is not None and measured.times.baseline == first


def test_nothing_is_begun_after_the_deadline(space: Space, measure: HostMeasure) -> None:
    task = layer_task(space, "1x8x8x24->1x8x8x72")
    assert list(measure([Trial(task, None, task.candidates[:1])], time.monotonic() - 1.0)) == []


def test_hostile_candidates_cost_only_themselves(space: Space, measure: HostMeasure, tmp_path: Path) -> None:
    real = layer_task(space, "1x8x8x24->1x8x8x72")
    good = real.candidates[0]
    assert isinstance(good, CpuKernel)
    crimes = CRIMES | {crime: RARER_CRIMES[crime] for crime in ("lazy", "much_scratch", "build_strange", "unpicklable")}
    criminals = tuple(Hostile(crime, number, good) for number, crime in enumerate(crimes))
    # The last good one comes after all the harm was done.
    task = Task(real.work, (good, *criminals, *real.candidates[1:3]))
    other = layer_task(space, "groups=72")
    tasks, store = [task, other], RecordStore(tmp_path / "records.jsonl")
    tuner = Tuner(tasks, every_layer_once(tasks), DEVICE, store, measure, "here", budget_s=300.0)
    result = tuner.run()
    found = {record.candidate: record for record in store.records}
    for number, (crime, (status, reason)) in enumerate(crimes.items()):
        record = found[f"hostile number={number}"]
        assert (record.status, crime) == (status, crime), record.reason
        assert reason in record.reason, crime
    assert result.failed == len(crimes)
    assert [layer.latency_ms is not None for layer in result.layers] == [True, True]
    assert result.layers[0].chosen.family == good.family
    for late in real.candidates[1:3]:
        assert all(record.status == "ok" for record in store.records if record.parameters == dict(late.parameters))


def test_a_first_guess_that_crashes_is_replaced(space: Space, measure: HostMeasure, tmp_path: Path) -> None:
    real = layer_task(space, "1x8x8x24->1x8x8x72")
    good = real.candidates[0]
    assert isinstance(good, CpuKernel)
    tasks, store = [Task(real.work, (Hostile("segfault", 0, good), good))], RecordStore(tmp_path / "records.jsonl")
    result = Tuner(tasks, every_layer_once(tasks), DEVICE, store, measure, "here", budget_s=60.0).run()
    assert (result.measured, result.failed) == (1, 1)
    assert result.layers[0].chosen == good


def test_other_machines_are_not_measured_here(cache: FileCache, tmp_path: Path) -> None:
    other = "arm64" if host_target() == "x86_64" else "x86_64"
    with pytest.raises(MissingError, match=f"target '{other}' cannot be measured here"):
        HostMeasure(load_target(other), DEVICE, cache, tmp_path)


def test_cases_follow_the_reference(space: Space, tmp_path: Path) -> None:
    stem = layer_task(space, "kernel=3x3 stride=2x2")
    assert isinstance(stem.work, LayerWork) and stem.work.storage == ("NCHW",)
    case = Case.of(stem.work)
    assert case.inputs[0].shape == (1, 3, 16, 16)
    expected = evaluate(stem.work.op, [case.inputs[0].transpose(0, 2, 3, 1)], case.weights)
    np.testing.assert_array_equal(case.output, expected)
    again = Case.load(case.save(tmp_path / "case.npy"))
    for one, other in zip((*case.inputs, case.output), (*again.inputs, again.output), strict=True):
        np.testing.assert_array_equal(one, other)
    assert case.weights.keys() == again.weights.keys() == {"weight", "bias"}


def test_a_groups_case_is_its_parts_one_after_another(space: Space) -> None:
    parts = [layer_task(space, kind).work for kind in ("1x8x8x24->1x8x8x72", "groups=72", "residual=")]
    assert all(isinstance(part, LayerWork) for part in parts)
    group = GroupWork(tuple(part for part in parts if isinstance(part, LayerWork)), ((-1,), (0,), (1, -1)))
    case = Case.of(group)
    (x,), value = case.inputs, case.inputs[0]
    for index, part in enumerate(group.parts):
        own = {role: case.weights[f"{index}.{role}"] for role in ("weight", "bias")}
        value = evaluate(part.op, [value] if index < 2 else [value, x], own)
    np.testing.assert_array_equal(case.output, value)


@pytest.mark.parametrize("at", [-1, 0])
def test_guards_notice_a_write(at: int) -> None:
    buffer = GuardedBuffer.of(5, 0.0)
    assert buffer.values.ctypes.data % 64 == 0 and buffer.intact()
    start = buffer.values.ctypes.data - buffer.whole.ctypes.data
    buffer.whole[start - 1 if at else start + 20] ^= 1
    assert not buffer.intact()


def _double() -> Handler:
    def handle(request: object) -> object:
        match request:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(600.0)
            case "say":
                os.write(2, b"first\nlast words\n")
                os.abort()
            case "missing":
                raise MissingError("no disk")
            case int():
                return request * 2
        raise ValueError("what?")

    return handle


def test_a_worker_survives_its_process() -> None:
    worker = IsolatedWorker(_double)
    try:
        assert worker.call(4, 60.0) == 8
        with pytest.raises(RequestFailedError, match=r"ValueError: what\?"):
            worker.call("nonsense", 60.0)
        with pytest.raises(MissingError, match="no disk"):
            worker.call("missing", 60.0)
        assert worker.starts == 1
        for request, status, reason in (
            ("die", "crash", "SIGKILL"),
            ("say", "crash", "SIGABRT: last words"),
            ("hang", "timeout", "took longer than 0.5 s"),
        ):
            with pytest.raises(WorkerDiedError, match=reason) as death:
                worker.call(request, 0.5)
            assert death.value.status == status and not worker.alive
            assert worker.call(5, 60.0) == 10
        assert worker.starts == 4
    finally:
        worker.close()
