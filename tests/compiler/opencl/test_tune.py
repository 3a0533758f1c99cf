"""GPU kernels tuned through PoCL: layers measured, records kept and labelled, harm confined. No time is looked at."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.compiler.opencl.hostile_kernels import CRIMES, HostileTarget
from tests.compiler.tune.hostile import Hostile

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.opencl.execute import InstalledGpuArtifact
from mnv3c.compiler.opencl.pipeline import GpuCompiler
from mnv3c.compiler.opencl.target import OpenClTarget, load_opencl_target
from mnv3c.compiler.opencl.tune.choice import PoclChoice
from mnv3c.compiler.opencl.tune.device import PoclDevice
from mnv3c.compiler.opencl.tune.measure import PoclMeasure
from mnv3c.compiler.opencl.tune.session import tune_on_pocl
from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.measure import Measurement, Trial
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.space import Space, Task
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.turns import Turns
from mnv3c.compiler.tune.work import candidate_name
from mnv3c.graph import reference
from mnv3c.graph.activation import HSWISH, RELU
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Dense, Flatten, GlobalAveragePool, Input
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import LayerWork

DEVICE = find_device("adreno-640", kind=GpuDevice)
TARGET = load_opencl_target("adreno")
QUICK = Turns(trial_turns=2, turns=3, final_turns=4, limit_s=0.1)

pytestmark = pytest.mark.usefixtures("opencl")
Measure = Callable[[OpenClTarget[Any]], PoclMeasure[Any]]


def network() -> Graph:
    """A caller's tensor, a stored one, a residual, a pool and a row product; nine channels leave lanes of padding."""
    window = (1, 1, 1, 1)
    nodes = (
        Node("x", Input((1, 16, 16, 3), layout="NCHW")),
        Node("stem", Conv2d(9, (3, 3), (2, 2), padding=(0, 0, 1, 1), bias=True, activation=HSWISH), ("x",)),
        Node("depthwise", Conv2d(9, (3, 3), padding=window, groups=9, bias=True, activation=RELU), ("stem",)),
        Node("project", Conv2d(9, (1, 1), bias=True, residual="before_activation"), ("depthwise", "stem")),
        Node("pool", GlobalAveragePool(), ("project",)),
        Node("flat", Flatten(), ("pool",)),
        Node("head", Dense(10, bias=True), ("flat",)),
    )
    return initialise(Graph("net", nodes, ("head",)), 0)


def space_of(target: OpenClTarget[Any] = TARGET) -> Space[Any]:
    return Space(network(), target, DEVICE, partial(target.tunable, device=DEVICE))


@pytest.fixture
def measure(tmp_path: Path) -> Iterator[Measure]:
    made: list[PoclMeasure[Any]] = []

    def make(target: OpenClTarget[Any]) -> PoclMeasure[Any]:
        cache = FileCache(tmp_path / "cache")
        made.append(PoclMeasure(target, DEVICE, cache, tmp_path, QUICK, kernel_limit_s=8.0, build_limit_s=40.0))
        return made[-1]

    yield make
    for each in made:
        each.close()


def statuses(measured: Sequence[Measurement]) -> list[str]:
    return [f"{each.status}: {each.reason}" if each.reason else each.status for each in measured]


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
def test_every_layer_is_measured(measure: Measure, storage: Any) -> None:
    target = TARGET.with_storage(storage)
    trials = [Trial(task, None, task.candidates[::7][:3]) for task in space_of(target).tasks]
    measured = list(measure(target)(trials, float("inf")))
    assert statuses(measured) == ["ok"] * sum(len(trial.candidates) for trial in trials)
    assert [each.candidate for each in measured] == [each for trial in trials for each in trial.candidates]
    for each in measured:
        assert each.times is not None and each.times.n >= 2
        assert 0 < each.times.min_us <= each.times.median_us
        assert each.times.baseline == each.task.candidates[0] and each.times.baseline_us > 0


def test_an_anchor_is_timed_and_not_reported(measure: Measure) -> None:
    task = task_of("depthwise")
    first, second, *_ = task.candidates
    (measured,) = measure(TARGET)([Trial(task, first, (second,))], float("inf"))
    assert measured.candidate == second and measured.times is not None and measured.times.baseline == first


def test_nothing_is_begun_after_the_deadline(measure: Measure) -> None:
    task = task_of("depthwise")
    assert list(measure(TARGET)([Trial(task, None, task.candidates[:1])], 0.0)) == []


def test_hostile_kernels_cost_only_themselves(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    # Workers unpickle what stands in `tests`.
    monkeypatch.syspath_prepend(Path(__file__).parents[3])
    real = task_of("pointwise")
    good, other, *_ = real.candidates
    assert isinstance(good, GpuCandidate)
    criminals = [Hostile(crime, number, good) for number, crime in enumerate(CRIMES)]
    task = Task(real.work, (good, *criminals, other))
    measured = list(measure(HostileTarget("adreno"))([Trial(task, None, task.candidates)], float("inf")))
    found = {each.candidate: each for each in measured}
    assert len(found) == len(measured) == len(task.candidates)
    assert (found[good].status, found[other].status) == ("ok", "ok")
    for criminal in criminals:
        status, reason = CRIMES[criminal.crime]
        each = found[criminal]
        assert each.status == status and reason in each.reason, f"{criminal.crime}: {statuses([each])}"


def task_of(family: str) -> Task:
    return next(task for task in space_of().tasks if task.candidates[0].family == family)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, opencl: Mapping[str, str]) -> Path:
    """Those of the first guesses, at least."""
    path = tmp_path_factory.mktemp("records") / "r.jsonl"
    result = tune_on_pocl(network(), TARGET, DEVICE, RecordStore(path), 0.0)
    assert (result.measured, result.failed, result.reused) == (len(result.layers), 0, 0)
    assert result.sum_ms is not None and result.sum_ms > 0
    return path


def test_records_say_where_they_were_made(records: Path) -> None:
    here = PoclDevice.here(TARGET, DEVICE)
    assert here.label == f"measured on PoCL ({here.cpu}), no GPU's latency"
    for record in RecordStore(records).records:
        assert (record.target, record.device, record.device_class) == ("adreno", "adreno-640", "pocl:fp32-fp32")
        assert record.host.startswith("PoCL ") and record.host.endswith(f" on {here.cpu}")
        assert record.device_fingerprint == here.fingerprint[:16] != DEVICE.fingerprint[:16]
        assert {"local_x", "local_y", "local_z"} <= set(record.parameters)


def test_a_second_run_measures_nothing_anew(records: Path) -> None:
    before = RecordStore(records).records
    result = tune_on_pocl(network(), TARGET, DEVICE, RecordStore(records), 0.0)
    assert (result.measured, result.failed, result.reused) == (0, 0, len(before))
    assert RecordStore(records).records == before


def test_records_of_other_numbers_and_devices_say_nothing(records: Path) -> None:
    known = RecordStore(records).records
    task = task_of("pointwise")
    assert isinstance(task.work, LayerWork)
    chosen = PoclChoice(known, TARGET, DEVICE)
    assert chosen.choose(task.work, task.candidates) in chosen.recorded
    others = (
        PoclChoice(known, TARGET.with_storage("fp16"), DEVICE),
        PoclChoice(known, TARGET.with_storage("fp16", "fp16"), DEVICE),
        PoclChoice(known, load_opencl_target("mali"), find_device("mali-g76", kind=GpuDevice)),
        # As if they were records of a CPU.
        RecordedChoice(known, find_device("host")),
    )
    for other in others:
        assert other.choose(task.work, task.candidates) == task.candidates[0] and not other.recorded


def made_faster(record: Record, task: Task, index: int) -> Record:
    """The record of another candidate, which is said to take half as long."""
    candidate = task.candidates[index]
    changes = {"family": candidate.family, "parameters": dict(candidate.parameters), "ratio": 0.5, "ratio_error": 0.0}
    return Record.model_validate(record.model_dump() | changes)


def test_the_network_is_compiled_as_the_records_say(
    records: Path, tmp_path: Path, opencl: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNV3C_OPENCL_CACHE", opencl["MNV3C_OPENCL_CACHE"])
    tasks = {task.key: task for task in space_of().tasks}
    known = {(record.layer, record.storage): record for record in RecordStore(records).records}
    faster = [made_faster(record, tasks[key], len(tasks[key].candidates) - 1) for key, record in known.items()]
    choice = PoclChoice([*known.values(), *faster], TARGET, DEVICE)
    artifact = GpuCompiler(TARGET, DEVICE, "x86_64", choice=choice).compile(network(), tmp_path / "net")
    layers = InstalledGpuArtifact.open(artifact.directory, pocl=True).manifest.layers
    wanted = {candidate_name(task.candidates[-1]) for task in tasks.values()}
    assert {candidate_name(call.candidate) for call in artifact.network.calls} == wanted
    assert artifact.recorded == {layer.name for layer in layers}
    assert {layer.chosen_by for layer in layers} == {"pocl-records"}
    values = np.random.default_rng(0).standard_normal((1, 16, 16, 3), np.float32)
    (expected,) = reference.run(network(), values).values()
    given = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    (got,) = InstalledGpuArtifact.open(artifact.directory, pocl=True).execute(given).outputs
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_first_guesses_are_called_so(tmp_path: Path) -> None:
    artifact = GpuCompiler(TARGET, DEVICE, "x86_64").compile(network(), tmp_path / "net")
    assert artifact.recorded == frozenset()
    assert {layer.chosen_by for layer in InstalledGpuArtifact.open(artifact.directory).manifest.layers} == {"estimate"}


def test_a_device_that_allows_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    # Its families ask for no more than it has, so the limits of another device stand in for a wrong one.
    limited = DEVICE.model_copy(update={"opencl": DEVICE.opencl.model_copy(update={"fp16": False})})
    target, store = TARGET.with_storage("fp16", "fp16"), RecordStore(tmp_path / "r.jsonl")
    with pytest.raises(UserError, match="device 'adreno-640' has no arithmetic in halves"):
        tune_on_pocl(network(), target, limited, store, 0.0)
    assert store.records == ()


@pytest.mark.parametrize(
    ("stub", "message"),
    [
        ("raise ImportError('not there')", r"^no PoCL found: pip install 'mnv3c\[gpu\]'$"),
        (
            "class Error(Exception): pass\ndef get_platforms(): raise Error('none')",
            r"^no PoCL found among the OpenCL platforms: pip install 'mnv3c\[gpu\]'$",
        ),
    ],
)
def test_without_pocl(stub: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyopencl.py").write_text(stub)
    # Workers get this process's path.
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingError, match=message):
        tune_on_pocl(network(), TARGET, DEVICE, RecordStore(tmp_path / "r.jsonl"), 0.0)
