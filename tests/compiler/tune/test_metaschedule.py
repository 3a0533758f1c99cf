"""MetaSchedule as a strategy: computations and traces are right, and what goes wrong costs only itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.compiler.kernel_runner import KernelRunner, host_variant
from tests.compiler.tune.fakes import FakeCandidate, FakeMachine, failure, pointwise, record, task

from mnv3c.compiler.build import KernelJob
from mnv3c.compiler.lower import first_guess
from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.measure import Measurement, Trial
from mnv3c.compiler.tune.metaschedule.kernels import with_plain_kernels, with_recorded_traces
from mnv3c.compiler.tune.metaschedule.model import LatencyModel, pooled
from mnv3c.compiler.tune.metaschedule.search import SearchRequest, Tried, make_searcher
from mnv3c.compiler.tune.metaschedule.strategy import ComparedLayer, Comparison, MetaScheduleTuner
from mnv3c.compiler.tune.metaschedule.traces import TraceFolder, find_trace
from mnv3c.compiler.tune.record import Record, Status
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.work import HASH_DIGITS, candidate_name, kernels_fingerprint, work_key
from mnv3c.compiler.tune.worker import IsolatedWorker, RequestFailedError, WorkerDiedError
from mnv3c.graph.activation import HSWISH, RELU, SIGMOID
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ops import (
    Activate,
    Add,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
)
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.cpu.traced import Traced, traced
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import Candidate, LayerWork, Storage
from mnv3c.targets.trace import trace_number

HOST = find_device("host")
TOLERANCE = 1e-5
SAME_3X3 = (1, 1, 1, 1)
Layer = tuple[Op, tuple[tuple[int, ...], ...], tuple[Storage, ...]]
# An odd number of channels leaves padding in the rows.
LAYERS: dict[str, Layer] = {
    "pointwise": (Conv2d(24, bias=True, activation=HSWISH), ((1, 6, 5, 13),), ()),
    "pointwise NCHW": (Conv2d(24, activation=RELU), ((1, 6, 5, 13),), ("NCHW",)),
    "residual before": (
        Conv2d(13, bias=True, activation=RELU, residual="before_activation"),
        ((1, 6, 5, 8), (1, 6, 5, 13)),
        (),
    ),
    "residual after": (
        Conv2d(13, (3, 3), padding=SAME_3X3, bias=True, activation=RELU, residual="after_activation"),
        ((1, 6, 5, 8), (1, 6, 5, 13)),
        (),
    ),
    "stem NHWC": (Conv2d(16, (3, 3), (2, 2), (0, 0, 1, 1), bias=True, activation=HSWISH), ((1, 12, 12, 3),), ("NHWC",)),
    "stem NCHW": (Conv2d(16, (3, 3), (2, 2), (0, 0, 1, 1), bias=True, activation=HSWISH), ((1, 12, 12, 3),), ("NCHW",)),
    "depthwise": (Conv2d(20, (5, 5), (2, 2), (1, 1, 2, 2), groups=20, bias=True), ((1, 11, 11, 20),), ()),
    "depthwise 1x1": (Conv2d(20, groups=20), ((1, 3, 3, 20),), ()),
    "depthwise of two": (Conv2d(20, (3, 3), padding=SAME_3X3, groups=10), ((1, 5, 5, 10),), ()),
    "grouped": (Conv2d(12, (3, 3), padding=SAME_3X3, dilation=(1, 1), groups=3, bias=True), ((1, 5, 6, 9),), ()),
    "dilated": (Conv2d(8, (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)), ((1, 7, 7, 5),), ()),
    "transposed": (ConvTranspose2d(6, (3, 3), (2, 2), SAME_3X3, bias=True, activation=RELU), ((1, 4, 5, 7),), ()),
    "dense": (Dense(30, bias=True, activation=SIGMOID), ((1, 21),), ()),
    "global pool": (GlobalAveragePool(), ((1, 5, 4, 21),), ()),
    "max pool": (Pool2d("max", (3, 3), (2, 2), (0, 0, 1, 1)), ((1, 9, 8, 20),), ()),
    "mean pool": (Pool2d("average", (3, 2), (2, 1), (1, 0, 1, 1)), ((1, 9, 8, 20),), ()),
    "mean pool with padding": (Pool2d("average", (3, 3), (2, 2), SAME_3X3, count_padding=True), ((1, 9, 9, 20),), ()),
    "add": (Add(RELU), ((1, 4, 4, 21), (1, 4, 4, 21)), ()),
    "multiply": (Multiply(), ((1, 4, 4, 21), (1, 4, 4, 21)), ()),
    "gate": (Multiply(), ((1, 4, 4, 21), (1, 1, 1, 21)), ()),
    "activation": (Activate(HSWISH), ((1, 4, 4, 21),), ()),
}


@pytest.fixture(scope="module", params=[512, 128], ids=lambda bits: f"{bits}bit")
def runner(request: pytest.FixtureRequest) -> KernelRunner:
    return KernelRunner(host_variant(request.param, 32))


def layer_work(runner: KernelRunner, layer: Layer) -> LayerWork:
    op, shapes, storage = layer
    return runner.work(op, [TensorType(shape) for shape in shapes], storage)


def plain_kernel(work: LayerWork) -> Traced:
    found = traced(work, HOST)
    assert found is not None
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_a_computation_is_right_without_a_schedule(runner: KernelRunner, name: str) -> None:
    work = layer_work(runner, LAYERS[name])
    kernel = runner.target.traced(work, runner.device)
    assert kernel is not None and kernel.family == "metaschedule" and dict(kernel.parameters) == {"trace": 0}
    assert runner.error(kernel, work) < TOLERANCE


def test_what_cannot_be_written_so_is_left_to_the_families() -> None:
    x, both = TensorType((1, 4, 4, 8)), TensorType((1, 4, 4, 16))
    assert traced(LayerWork(Concat(), (x, x), both, ("target", "target")), HOST) is None
    halves = replace(LayerWork(Dense(8), (TensorType((1, 8)),), TensorType((1, 8)), ("target",)), weights="fp16")
    assert traced(halves, HOST) is None


def test_a_kernel_may_not_take_much_of_the_stack() -> None:
    large = plain_kernel(LayerWork(Conv2d(64), (TensorType((1, 14, 14, 8)),), TensorType((1, 14, 14, 64)), ("target",)))
    # A schedule that changes nothing: all sums at once.
    with pytest.raises(ValueError, match=f"takes {14 * 14 * 64 * 4} bytes of the stack"):
        large.scheduled("[[],[]]").build("kernel")


@pytest.fixture
def searcher() -> Iterator[IsolatedWorker]:
    worker = IsolatedWorker(make_searcher)
    yield worker
    worker.close()


def search_request(plain: Traced, tried: Sequence[Tried] = ()) -> SearchRequest:
    target = KernelJob.of(plain, load_target(HOST.target).llvm_target(HOST)).llvm_target
    return SearchRequest(plain, target, vector_lanes=16, cores=1, tried=tuple(tried), count=3, population=8)


@pytest.mark.parametrize("name", ["pointwise", "depthwise"])
def test_what_the_search_proposes_is_right_and_new(searcher: IsolatedWorker, name: str) -> None:
    runner = KernelRunner(HOST)
    work = layer_work(runner, LAYERS[name])
    plain = plain_kernel(work)
    first = searcher.call(search_request(plain), 120.0)
    assert 0 < len(first) <= 3
    tried = [Tried(trace, None if n == 0 else 10.0 + n) for n, trace in enumerate(first)]
    second = searcher.call(search_request(plain, tried), 120.0)
    # A process that knows nothing goes on from what was recorded.
    searcher.close()
    third = searcher.call(search_request(plain, [*tried, *(Tried(trace, 9.0) for trace in second)]), 120.0)
    assert len({*first, *second, *third}) == len(first) + len(second) + len(third) > len(first)
    for trace in (*first, *second, *third):
        kernel = plain.scheduled(trace)
        assert dict(kernel.parameters) == {"trace": trace_number(trace)}
        assert runner.error(kernel, work) < TOLERANCE


def test_a_layer_is_searched_through_when_there_is_one_schedule_only(searcher: IsolatedWorker) -> None:
    plain = plain_kernel(layer_work(KernelRunner(HOST), LAYERS["activation"]))
    seen: list[str] = []
    for _ in range(8):
        proposed = searcher.call(search_request(plain, [Tried(trace, 5.0) for trace in seen]), 120.0)
        if not proposed:
            break
        seen += proposed
    assert seen and not proposed


def test_a_trace_of_another_layer_is_refused(searcher: IsolatedWorker) -> None:
    runner = KernelRunner(HOST)
    plain, other = (plain_kernel(layer_work(runner, LAYERS[name])) for name in ("pointwise", "depthwise"))
    (trace, *_) = searcher.call(search_request(plain), 120.0)
    with pytest.raises((ValueError, RuntimeError)):
        other.scheduled(trace).build("kernel")


def test_the_model_learns_an_order() -> None:
    rng = np.random.default_rng(0)
    stores = [rng.random((3, 6), dtype=np.float32) for _ in range(80)]
    features = [pooled(each) for each in stores]
    costs_us = [float(np.exp(3 * vector[0] - 2 * vector[7])) for vector in features]
    model = LatencyModel()
    model.add(features[:7], costs_us[:7])
    assert model.predict(features) is None
    model.add(features[7:60], costs_us[7:60])
    predicted = model.predict(features[60:])
    assert predicted is not None
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, costs_us[60:])]
    assert np.corrcoef(*ranks)[0, 1] > 0.8


def test_the_model_bears_features_that_are_all_alike() -> None:
    model = LatencyModel()
    model.add([np.ones(4)] * 10, [7.0] * 10)
    predicted = model.predict([np.ones(4), np.full(4, 2.0)])
    assert predicted is not None and np.allclose(predicted, np.log(7.0))


def test_traces_are_kept_by_content(tmp_path: Path) -> None:
    folder, other = TraceFolder.beside(tmp_path / "a" / "records.jsonl"), TraceFolder(tmp_path / "b")
    number = folder.save("[[],[1]]")
    assert folder.save("[[],[1]]") == number == trace_number("[[],[1]]")
    assert [path.name for path in folder.path.rglob("*.*")] == [f"{number:012x}.json"]
    assert find_trace(number, (other, folder)) == "[[],[1]]" and find_trace(number + 1, (other, folder)) is None
    folder.file(number).write_text("[[],[2]]", encoding="utf-8")
    with pytest.raises(UserError, match=f"{number:012x}.json: is not the trace that its name tells"):
        folder.load(number)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "traces").write_text("", encoding="utf-8")
    with pytest.raises(MissingError, match=r"cannot write .*traces"):
        TraceFolder(tmp_path / "traces").save("[[],[]]")


# The strategy, on a machine whose costs are known. A trace is its cost in microseconds, or the way it fails.


@dataclass(frozen=True)
class FakeTraced(FakeCandidate):
    channels: int = 0
    family: str = "metaschedule"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"trace": self.size}

    def computation(self, symbol: str) -> Any:
        raise NotImplementedError

    def scheduled(self, trace: str) -> "FakeTraced":
        cost, _, status = trace.partition(" ")
        found: Status = "crash" if status else "ok"
        return replace(self, size=trace_number(trace), cost_us=float(cost), status=found)


class FakeSearch:
    """Proposes from a list for each layer, two at a time; an exception is raised instead. Takes a second each time."""

    def __init__(self, machine: FakeMachine, plans: Mapping[int, Sequence[str | Exception]]) -> None:
        self._machine, self._plans = machine, {channels: list(plan) for channels, plan in plans.items()}
        self.visits: list[int] = []
        self.told: dict[int, tuple[Tried, ...]] = {}

    def __call__(self, request: object, limit_s: float) -> tuple[str, ...]:
        assert isinstance(request, SearchRequest) and isinstance(request.computation, FakeTraced)
        self._machine.now_s += 1.0
        channels = request.computation.channels
        self.visits.append(channels)
        self.told[channels] = request.tried
        known = {each.trace for each in request.tried}
        plan = self._plans[channels]
        while plan and plan[0] in known:
            plan.pop(0)
        if plan and isinstance(plan[0], Exception):
            raise plan.pop(0)  # type: ignore[misc]
        proposed = [trace for trace in plan[:2] if isinstance(trace, str)]
        del plan[: len(proposed)]
        return tuple(proposed)


def run_strategy(
    tasks: Sequence[Task],
    plans: Mapping[int, Sequence[str | Exception]],
    path: Path,
    budget_s: float = 1e6,
) -> tuple[Comparison, FakeSearch, FakeMachine]:
    machine = FakeMachine()
    search = FakeSearch(machine, plans)
    plain = {each.key: FakeTraced(0, 900.0, channels=each.work.output.channels) for each in tasks if is_layer(each)}
    tuner = MetaScheduleTuner(
        tasks=tasks,
        plain=plain,
        counts={each.key: 1 for each in tasks},
        device=HOST,
        llvm_target={},
        store=RecordStore(path),
        traces=TraceFolder.beside(path),
        search=search,
        measure=machine.measure,
        host="here",
        budget_s=budget_s,
        clock=machine.clock,
    )
    return tuner.run(), search, machine


def is_layer(each: Task) -> bool:
    return isinstance(each.work, LayerWork)


def numbers(layer: ComparedLayer) -> tuple[float | None, float | None, int, int]:
    return layer.families_ms, layer.metaschedule_ms, layer.measured, layer.failed


def test_it_compares_the_best_of_both(tmp_path: Path) -> None:
    tasks = [task([40.0], 16), task([10.0], 17)]
    plans = {16: ["60", "30", "50", "1 crash"], 17: ["25", "20"]}
    result, search, _ = run_strategy(tasks, plans, tmp_path / "r.jsonl")
    assert [numbers(layer) for layer in result.layers] == [(0.04, 0.03, 3, 1), (0.01, 0.02, 2, 0)]
    assert [layer.ratio for layer in result.layers] == [0.75, 2.0]
    assert [layer.latency_ms for layer in result.layers] == [0.03, 0.01]
    assert (result.families_ms, result.metaschedule_ms) == (0.05, 0.05)
    assert (result.measured, result.failed, result.reused) == (7, 1, 0)
    assert {each.trace: each.latency_us for each in search.told[16]} == {
        "60": 60.0,
        "30": 30.0,
        "50": 50.0,
        "1 crash": None,
    }


def test_luck_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Candidate] = []
    honest = FakeMachine.measure

    def lucky(machine: FakeMachine, trials: Sequence[Trial], deadline_s: float) -> Iterator[Measurement]:
        for each in honest(machine, trials, deadline_s):
            first = each.candidate not in seen and each.candidate.family == "metaschedule"
            seen.append(each.candidate)
            times = each.times
            yield replace(each, times=replace(times, ratio=0.5 * times.ratio)) if first and times else each

    monkeypatch.setattr(FakeMachine, "measure", lucky)
    # At half its time the first beats the family, the second does not, and is not measured again.
    result, _, _ = run_strategy([task([40.0], 16)], {16: ["60", "90"]}, tmp_path / "r.jsonl")
    assert numbers(result.layers[0]) == (0.04, 0.045, 2, 0)
    ratios = {each.ratio for each in RecordStore(tmp_path / "r.jsonl").records}
    assert ratios == {1.0, 1.5, 1.125} and len(seen) == 4


def test_what_fails_when_it_is_confirmed_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Candidate] = []
    honest = FakeMachine.measure

    def fragile(machine: FakeMachine, trials: Sequence[Trial], deadline_s: float) -> Iterator[Measurement]:
        for each in honest(machine, trials, deadline_s):
            again = each.candidate in seen
            seen.append(each.candidate)
            yield Measurement(each.task, each.candidate, "crash", "SIGSEGV") if again else each

    monkeypatch.setattr(FakeMachine, "measure", fragile)
    result, _, _ = run_strategy([task([40.0], 16)], {16: ["30", "50"]}, tmp_path / "r.jsonl")
    assert numbers(result.layers[0]) == (0.04, 0.05, 1, 1)


def test_a_second_run_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    path, plans = tmp_path / "r.jsonl", {16: ["60", "30", "50"]}
    before, _, _ = run_strategy([task([40.0], 16)], plans, path)
    after, search, machine = run_strategy([task([40.0], 16)], plans, path)
    assert [numbers(layer) for layer in after.layers] == [numbers(layer) for layer in before.layers]
    assert (after.measured, after.failed, after.reused) == (0, 0, 4) and not machine.trials
    assert {each.trace for each in search.told[16]} == {"60", "30", "50"}


def test_a_record_whose_trace_is_lost_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    run_strategy([task([40.0], 16)], {16: ["30"]}, path)
    for file in (tmp_path / "traces").rglob("*.json"):
        file.unlink()
    result, search, _ = run_strategy([task([40.0], 16)], {16: ["35"]}, path)
    assert numbers(result.layers[0]) == (0.04, 0.035, 1, 0) and search.told[16][0].trace == "35"


def test_the_budget_goes_to_the_layers_by_their_share(tmp_path: Path) -> None:
    tasks = [task([1000.0], 16), task([100.0], 17)]
    endless = [str(2000 + n) for n in range(400)]
    result, search, _ = run_strategy(tasks, {16: endless, 17: endless}, tmp_path / "r.jsonl", budget_s=150.0)
    assert 6 <= search.visits.count(16) / search.visits.count(17) <= 14
    assert 150.0 <= result.seconds <= 152.0


def test_first_guesses_come_before_the_budget_and_alone_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="not one schedule could be measured in 0 s; give it more of a --budget"):
        run_strategy([task([40.0], 16)], {16: ["30"]}, tmp_path / "r.jsonl", budget_s=0.0)
    (kept,) = RecordStore(tmp_path / "r.jsonl").records
    assert kept.family == "fake" and kept.status == "ok"


def test_what_fails_everywhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="the first failure: it is a crash"):
        run_strategy([task([40.0], 16)], {16: ["1 crash", "2 crash"]}, tmp_path / "r.jsonl")


def test_a_search_that_dies_costs_its_layer_only(tmp_path: Path) -> None:
    tasks = [task([40.0], 16), task([10.0], 17), task([5.0], 18)]
    plans: dict[int, list[str | Exception]] = {
        16: [WorkerDiedError("crash", "SIGSEGV"), "30", WorkerDiedError("timeout", "late"), "20"],
        17: [RequestFailedError("InternalError: no"), "9"],
        18: ["4"],
    }
    result, search, _ = run_strategy(tasks, plans, tmp_path / "r.jsonl")
    assert [layer.metaschedule_ms for layer in result.layers] == [0.03, None, 0.004]
    assert (search.visits.count(16), search.visits.count(17)) == (3, 1)
    assert len(result.compared) == 2


def test_a_layer_whose_first_guess_fails_is_compared_with_nothing(tmp_path: Path) -> None:
    result, _, machine = run_strategy([task([40.0], 16, {0: "crash"})], {16: ["30"]}, tmp_path / "r.jsonl")
    (layer,) = result.layers
    assert (layer.families_ms, layer.ratio, layer.latency_ms) == (None, None, 0.03)
    assert machine.trials[-1].anchor is None


# What compile makes of the records.

WORK = pointwise()
PLAIN = plain_kernel(WORK)
FIRST = load_target(HOST.target).families()[0].candidates(WORK, HOST)


def known(candidate: Candidate, ratio: float, **changes: object) -> Record:
    key = work_key(WORK)
    assert FIRST is not None
    return record(
        layer=key[0],
        storage=key[1],
        target=HOST.target,
        device_class=HOST.device_class,
        device_fingerprint=HOST.fingerprint[:HASH_DIGITS],
        kernels=kernels_fingerprint(),
        family=candidate.family,
        parameters=dict(candidate.parameters),
        baseline=candidate_name(FIRST[0]),
        ratio=ratio,
        **changes,
    )


def chosen(records: Sequence[Record], folder: Path, work: LayerWork = WORK) -> Candidate | None:
    target = with_recorded_traces(load_target(HOST.target), HOST, records, (TraceFolder(folder),))
    offers = (family.candidates(work, HOST) for family in target.families())
    candidates = next((offer for offer in offers if offer is not None), None)
    return None if candidates is None else RecordedChoice(records, HOST).choose(work, candidates)


def test_a_trace_is_chosen_where_it_is_faster(tmp_path: Path) -> None:
    assert FIRST is not None
    fast, faster = PLAIN.scheduled("[[],[1]]"), PLAIN.scheduled("[[],[2]]")
    for kernel in (fast, faster):
        TraceFolder(tmp_path).save(kernel.trace)
    ours = known(FIRST[0], 1.0)
    assert chosen([ours, known(fast, 0.8), known(faster, 0.7)], tmp_path) == faster
    # Within the noise, what the family guessed first stays.
    assert chosen([ours, known(fast, 0.995)], tmp_path) == FIRST[0]
    assert chosen([ours, known(fast, 1.3)], tmp_path) == FIRST[0]


def test_traces_that_cannot_be_trusted_do_not_count(tmp_path: Path) -> None:
    assert FIRST is not None
    kernel = PLAIN.scheduled("[[],[1]]")
    ours = known(FIRST[0], 1.0)
    lost = known(kernel, 0.5)
    assert chosen([ours, lost], tmp_path) == first_guess(WORK, FIRST)
    TraceFolder(tmp_path).save(kernel.trace)
    for changes in ({"kernels": "b" * 16}, {"threads": 2}, {"device_class": "another"}):
        changed = Record.model_validate(lost.model_dump() | changes)
        assert chosen([ours, changed], tmp_path) == FIRST[0]
    failed = failure(**{name: getattr(lost, name) for name in ("layer", "storage", "target", "kernels", "parameters")})
    assert chosen([ours, failed], tmp_path) == FIRST[0]
    assert chosen([ours, lost], tmp_path) == kernel


def test_a_layer_outside_the_families_is_computed_by_its_trace(tmp_path: Path) -> None:
    work = layer_work(KernelRunner(HOST), LAYERS["grouped"])
    plain = plain_kernel(work)
    kernel = plain.scheduled("[[],[1]]")
    TraceFolder(tmp_path).save(kernel.trace)
    key = work_key(work)
    found = Record.model_validate(
        known(kernel, 0.5).model_dump() | {"layer": key[0], "storage": key[1], "baseline": candidate_name(plain)}
    )
    assert chosen([], tmp_path, work) is None
    assert chosen([found], tmp_path, work) == kernel
    # What the caller hands over is stored first, as for every layer of which no family reads another order.
    assert chosen([found], tmp_path, replace(work, storage=("NCHW",))) is None


def test_a_search_begins_outside_the_families_too() -> None:
    target = with_plain_kernels(load_target(HOST.target), HOST)
    (family,) = target.families()
    assert family.candidates(WORK, HOST) == FIRST
    outside = layer_work(KernelRunner(HOST), LAYERS["grouped"])
    assert family.candidates(outside, HOST) == (plain_kernel(outside),)
    assert target.name == HOST.target and target.groups() == load_target(HOST.target).groups()
