"""The strategy: which layer the search works on next, what it tries there, and how that compares with the families.

First the first guess of every layer is measured that has no record yet: it tells the layer's share of the network's
time, and takes turns with every trace that is tried. Then layers are visited one at a time, always the one that has had
least of the budget for its share: the search proposes a few traces in the light of all that were tried, the tuner's
runner builds, checks and times them, and each becomes a record as soon as it is measured; what seems to beat the
families, as soon as that is confirmed.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mnv3c.compiler.tune.layer_state import LayerState
from mnv3c.compiler.tune.measure import Measure, Measurement, Trial
from mnv3c.compiler.tune.metaschedule.kernels import is_traced
from mnv3c.compiler.tune.metaschedule.search import SearchRequest, Tried
from mnv3c.compiler.tune.metaschedule.traces import TraceFolder
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.recording import measured_record
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuner import Progress
from mnv3c.compiler.tune.work import HASH_DIGITS, WorkKey, candidate_name, kernels_fingerprint
from mnv3c.compiler.tune.worker import RequestFailedError, WorkerDiedError
from mnv3c.graph.errors import MissingError
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate, Schedulable

_TRACES_AT_ONCE = 8
_SEARCH_LIMIT_S = 120.0
_MOST_DEATHS = 2
# Below so much work waking a thread costs more than it saves, about two microseconds; more threads find less to do.
_WORTH_SHARING_MACS = 1 << 17
_MOST_CORES = 4
# The widest loop that is vectorised: LLVM cuts it into registers.
_VECTORS_AT_ONCE = 4
_FLOAT_BITS = 32


class Search(Protocol):
    """Proposes traces; `IsolatedWorker.call` is one."""

    def __call__(self, request: object, limit_s: float) -> tuple[str, ...]:
        """New traces, none where there are no more. Raises as `IsolatedWorker.call`."""


@dataclass(frozen=True)
class ComparedLayer:
    """A layer both ways: the families' best kernel and MetaSchedule's best trace, in milliseconds of one call.

    `families_tried` kernels of the families have records; where that is 1, their time is that of the first guess.
    `measured` and `failed` count traces, of this run and before.
    """

    task: Task
    count: int
    ours: Candidate
    families_ms: float | None
    families_tried: int
    trace: Candidate | None
    metaschedule_ms: float | None
    measured: int
    failed: int

    @property
    def ratio(self) -> float | None:
        """MetaSchedule's time over the families'; below 1 it is faster."""
        if self.families_ms is None or self.metaschedule_ms is None:
            return None
        return self.metaschedule_ms / self.families_ms

    @property
    def latency_ms(self) -> float | None:
        """The better of both."""
        return min((time for time in (self.families_ms, self.metaschedule_ms) if time is not None), default=None)


@dataclass(frozen=True)
class Comparison:
    """All layers that MetaSchedule can take, in the network's order; no groups. Counts are of this run."""

    layers: tuple[ComparedLayer, ...]
    measured: int
    failed: int
    reused: int
    seconds: float

    @property
    def compared(self) -> tuple[ComparedLayer, ...]:
        """The layers that have both times."""
        return tuple(layer for layer in self.layers if layer.ratio is not None)

    @property
    def families_ms(self) -> float:
        """Sum over the compared layers, each as often as the network has it."""
        return sum(layer.count * (layer.families_ms or 0.0) for layer in self.compared)

    @property
    def metaschedule_ms(self) -> float:
        """Sum over the compared layers, each as often as the network has it."""
        return sum(layer.count * (layer.metaschedule_ms or 0.0) for layer in self.compared)


@dataclass(frozen=True)
class MetaScheduleTuner:
    """Searches traces for `tasks`, of which `plain` gives the computations; `counts` is how often each is called."""

    tasks: Sequence[Task]
    plain: Mapping[WorkKey, Schedulable]
    counts: Mapping[WorkKey, int]
    device: CpuDevice
    llvm_target: Mapping[str, object]
    store: RecordStore
    traces: TraceFolder
    search: Search
    measure: Measure
    host: str
    budget_s: float
    threads: int = 1
    progress: Callable[[Progress], None] = lambda progress: None
    clock: Callable[[], float] = time.monotonic

    def run(self) -> Comparison:
        """Search until the budget is spent or no layer has more to try.

        Raises MissingError where there is not one trace with a time, naming the first failure.
        """
        return _Run(self).run()


class _Layer:
    """A task, what was tried of it, and what the search has spent on it."""

    def __init__(self, task: Task, plain: Schedulable, count: int) -> None:
        self.state, self.plain, self.count = LayerState(task), plain, count
        self.traces: dict[str, str] = {}
        self.spent_s, self.deaths, self.done = 0.0, 0, False

    @property
    def tried(self) -> tuple[Tried, ...]:
        """All traces with a record, in a stable order."""
        known, records = self.state.known, self.state.records
        return tuple(
            Tried(trace, known[name].latency_us if name in known else None)
            for name, trace in sorted(self.traces.items())
            if name in records
        )

    def beaten_by(self, ratio: float) -> bool:
        """Whether a trace that takes `ratio` times as long as the anchor is faster than the families' best."""
        state = self.state
        assert state.anchor is not None and state.latency_ms is not None
        return ratio * state.known[state.task.names[state.anchor]].latency_us < 1e3 * state.latency_ms

    @property
    def best(self) -> str | None:
        """The fastest trace's candidate in records."""
        timed = [name for name in self.traces if name in self.state.known]
        return min(timed, key=lambda name: (self.state.known[name].latency_us, name), default=None)

    @property
    def best_ms(self) -> float | None:
        """The faster of the families' best and of the traces."""
        trace_ms = None if self.best is None else self.state.known[self.best].latency_us / 1e3
        return min((each for each in (self.state.latency_ms, trace_ms) if each is not None), default=None)

    @property
    def share_ms(self) -> float:
        """What the network spends on the layer."""
        return self.count * (self.best_ms or 1.0)


class _Run:
    def __init__(self, tuner: MetaScheduleTuner) -> None:
        self._tuner, self._begin_s = tuner, tuner.clock()
        self._layers = {
            task.key: _Layer(task, tuner.plain[task.key], tuner.counts.get(task.key, 0)) for task in tuner.tasks
        }
        self._measured = self._failed = self._reused = 0
        self._first_reason = ""
        self._reuse()

    def run(self) -> Comparison:
        self._round(self._baselines(), math.inf)
        while self._left_s > 0.0 and (layer := self._next()) is not None:
            self._visit(layer)
        if self._layers and not any(layer.best for layer in self._layers.values()):
            reason = f"the first failure: {self._first_reason}" if self._first_reason else "give it more of a --budget"
            raise MissingError(f"not one schedule could be measured in {self._tuner.budget_s:g} s; {reason}")
        return self._result()

    @property
    def _left_s(self) -> float:
        return self._begin_s + self._tuner.budget_s - self._tuner.clock()

    def _reuse(self) -> None:
        device, threads = self._tuner.device, self._tuner.threads
        here = (device.target, device.fingerprint[:HASH_DIGITS], threads, "measured")
        for record in self._tuner.store.records:
            layer = self._layers.get((record.layer, record.storage))
            same = (record.target, record.device_fingerprint, record.threads, record.basis) == here
            if layer is not None and same and self._usable(layer, record):
                layer.state.add([record])
                self._reused += 1

    def _usable(self, layer: _Layer, record: Record) -> bool:
        if record.candidate in layer.state.task.names:
            return record.kernels == kernels_fingerprint()
        if not is_traced(record, layer.plain):
            return False
        trace = self._tuner.traces.load(record.parameters.get("trace", 0))
        if trace is not None:
            layer.traces[record.candidate] = trace
        return trace is not None

    def _baselines(self) -> list[Trial]:
        """The first guess of every layer of which nothing is known."""
        states = [layer.state for layer in self._layers.values()]
        return [Trial(state.task, None, state.task.candidates[:1]) for state in states if state.untouched]

    def _next(self) -> _Layer | None:
        open_ = [layer for layer in self._layers.values() if not layer.done and layer.count]
        return min(open_, key=lambda layer: (layer.spent_s / layer.share_ms, -layer.share_ms), default=None)

    def _visit(self, layer: _Layer) -> None:
        begin_s = self._tuner.clock()
        traces = self._proposed(layer)
        candidates = []
        for trace in traces:
            candidate = layer.plain.scheduled(trace)
            # Before its record, which tells that it is there.
            self._tuner.traces.save(trace)
            layer.traces[candidate_name(candidate)] = trace
            candidates.append(candidate)
        if candidates:
            self._try(layer, candidates)
        layer.spent_s += max(self._tuner.clock() - begin_s, 1e-6)

    def _try(self, layer: _Layer, candidates: Sequence[Candidate]) -> None:
        """Measure traces. What beats the families is measured once more, and the slower time counts.

        Among many traces there is always one that was lucky.
        """
        state, surprising = layer.state, []
        baseline = None if state.anchor is None else state.task.candidates[state.anchor]
        trial = Trial(state.task, baseline, tuple(candidates))
        for measurement in self._tuner.measure([trial], self._begin_s + self._tuner.budget_s):
            if baseline is not None and measurement.times is not None and layer.beaten_by(measurement.times.ratio):
                surprising.append(measurement)
            else:
                self._keep(layer, measurement)
        if surprising:
            trial = replace(trial, candidates=tuple(each.candidate for each in surprising))
            again = {each.candidate: each for each in self._tuner.measure([trial], math.inf)}
            for measurement in surprising:
                self._keep(layer, _slower(measurement, again.get(measurement.candidate, measurement)))

    def _proposed(self, layer: _Layer) -> tuple[str, ...]:
        limit_s = min(_SEARCH_LIMIT_S, max(self._left_s, 0.1))
        try:
            traces = self._tuner.search(self._request(layer), limit_s)
        except (RequestFailedError, WorkerDiedError) as failure:
            if self._left_s > 0.0:
                layer.deaths += 1
                layer.done = layer.deaths >= _MOST_DEATHS or isinstance(failure, RequestFailedError)
                self._first_reason = self._first_reason or f"the search: {failure}"
            return ()
        layer.done = not traces
        return traces

    def _request(self, layer: _Layer) -> SearchRequest:
        device, macs = self._tuner.device, layer.state.task.macs
        cores = min(device.cores, _MOST_CORES) if macs >= _WORTH_SHARING_MACS else 1
        lanes = _VECTORS_AT_ONCE * device.vector.bits // _FLOAT_BITS
        target = json.dumps(self._tuner.llvm_target, sort_keys=True)
        return SearchRequest(layer.plain, target, lanes, cores, layer.tried, _TRACES_AT_ONCE)

    def _round(self, trials: Sequence[Trial], deadline_s: float) -> None:
        if trials:
            for measurement in self._tuner.measure(trials, deadline_s):
                self._keep(self._layers[measurement.task.key], measurement)

    def _keep(self, layer: _Layer, measurement: Measurement) -> None:
        tuner = self._tuner
        record = measured_record(measurement, tuner.device, tuner.threads, tuner.host)
        tuner.store.append(record)
        layer.state.add([record])
        self._measured += record.status == "ok"
        self._failed += record.status != "ok"
        self._first_reason = self._first_reason or record.reason
        elapsed_s = tuner.clock() - self._begin_s
        tuner.progress(Progress(elapsed_s, self._sum_ms(), self._measured, self._failed))

    def _sum_ms(self) -> float | None:
        return _sum((layer.best_ms, layer.count) for layer in self._layers.values())

    def _result(self) -> Comparison:
        layers = tuple(map(_compared, self._layers.values()))
        seconds = self._tuner.clock() - self._begin_s
        return Comparison(layers, self._measured, self._failed, self._reused, seconds)


def _slower(one: Measurement, other: Measurement) -> Measurement:
    """The one that failed, else the one with the larger ratio."""
    for each in (one, other):
        if each.times is None:
            return each
    assert one.times is not None and other.times is not None
    return one if one.times.ratio >= other.times.ratio else other


def _compared(layer: _Layer) -> ComparedLayer:
    state, best = layer.state, layer.best
    timed = sum(name in state.known for name in layer.traces)
    return ComparedLayer(
        task=state.task,
        count=layer.count,
        ours=state.chosen,
        families_ms=state.latency_ms,
        families_tried=sum(name in state.known for name in state.task.names),
        trace=None if best is None else layer.plain.scheduled(layer.traces[best]),
        metaschedule_ms=None if best is None else state.known[best].latency_us / 1e3,
        measured=timed,
        failed=sum(name in state.records for name in layer.traces) - timed,
    )


def _sum(latencies_ms: Iterable[tuple[float | None, int]]) -> float | None:
    total = 0.0
    for latency_ms, count in latencies_ms:
        if latency_ms is None:
            return None
        total += count * latency_ms
    return total
