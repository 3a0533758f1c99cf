"""The search by estimates: candidates in their families' own order, deepest where a layer's share of the cycles is.

The first round estimates the first guess of every layer that the program uses, however short the budget is. Each
further round takes the next candidates of the layers whose cycles, divided by how far down the order the candidate
stands, are the most. Estimates have no noise, but they know no caches: what comes within 2 % of the best is as good as
the best.
"""

import heapq
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mnv3c.compiler.tune.choice import estimates, pick_estimated
from mnv3c.compiler.tune.record import Basis, Record
from mnv3c.compiler.tune.recording import estimated_record
from mnv3c.compiler.tune.space import Task, sum_over_calls
from mnv3c.compiler.tune.static_measure import Estimate, Estimator, Offer
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.work import HASH_DIGITS, WorkKey, candidate_name, kernels_fingerprint, work_key
from mnv3c.graph.errors import MissingError
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate, GroupWork

_ROUND_S = 8.0
_LEAST_PER_ROUND = 8
_FIRST_PACE_PER_S = 4.0


@dataclass(frozen=True)
class StaticProgress:
    """How far the search is. `cycles` is None until every layer that can be estimated is."""

    elapsed_s: float
    cycles: float | None
    estimated: int
    failed: int


@dataclass(frozen=True)
class EstimatedLayer:
    """What was estimated for a layer or group that the program calls `count` times.

    Cycles are those of one call; None where nothing could be said. `instructions_per_mac` is None where no instructions
    were counted or there are no multiply-accumulates.
    """

    task: Task
    count: int
    chosen: Candidate
    cycles: float | None
    first_guess_cycles: float | None
    instructions_per_mac: float | None
    estimated: int
    failed: int


@dataclass(frozen=True)
class StaticResult:
    """The layers and groups in the network's order, all by one basis and model."""

    layers: tuple[EstimatedLayer, ...]
    basis: Basis
    model: str
    estimated: int
    failed: int
    reused: int
    seconds: float

    @property
    def cycles(self) -> float | None:
        """Sum over the network's layers, as often as each is called; None where one has no estimate."""
        return sum_over_calls((layer.cycles, layer.count) for layer in self.layers)

    @property
    def first_guess_cycles(self) -> float | None:
        """The same sum for the first guesses."""
        return sum_over_calls((layer.first_guess_cycles, layer.count) for layer in self.layers)

    @property
    def instructions_per_mac(self) -> float | None:
        """Over the layers with multiply-accumulates; None where one was not counted."""
        layers = [layer for layer in self.layers if layer.task.macs]
        total = sum_over_calls(
            (None if each.instructions_per_mac is None else each.instructions_per_mac * each.task.macs, each.count)
            for each in layers
        )
        macs = sum(layer.count * layer.task.macs for layer in layers)
        return total / macs if total is not None and macs else None


@dataclass
class _Layer:
    task: Task
    records: dict[str, Record] = field(default_factory=dict)

    @property
    def known(self) -> dict[str, float]:
        return estimates(self.records.values())

    @property
    def chosen(self) -> Candidate:
        return pick_estimated(self.task.candidates, self.known) or self.task.candidates[0]

    @property
    def cycles(self) -> float | None:
        return self.known.get(candidate_name(self.chosen))

    @property
    def hopeless(self) -> bool:
        return len(self.records) == len(self.task.names) and not self.known


@dataclass(frozen=True)
class StaticTuner:
    """Tunes the layers of a network by estimates; `store` keeps every record at once. `plan` is `Space.plan`."""

    tasks: Sequence[Task]
    plan: Callable[[Callable[[GroupWork], bool]], Mapping[WorkKey, int]]
    device: CpuDevice
    store: RecordStore
    estimator: Estimator
    host: str
    budget_s: float
    progress: Callable[[StaticProgress], None] = lambda progress: None
    clock: Callable[[], float] = time.monotonic

    def run(self) -> StaticResult:
        """Estimate until the budget is spent or nothing is left.

        Raises MissingError where not one candidate could be estimated, naming the first failure.
        """
        return _Run(self).run()


class _Run:
    def __init__(self, tuner: StaticTuner) -> None:
        self._tuner, self._begin_s = tuner, tuner.clock()
        self._fingerprint = tuner.device.fingerprint[:HASH_DIGITS]
        self._layers = {task.key: _Layer(task) for task in tuner.tasks}
        self._tried: set[tuple[WorkKey, str]] = set()
        self._estimated = self._failed = self._reused = 0
        self._first_reason = ""
        self._pace_per_s = _FIRST_PACE_PER_S
        self._reuse()
        self._counts: Mapping[WorkKey, int] = {}
        self._plan()

    def run(self) -> StaticResult:
        # A group whose every candidate fails gives way to its parts, which then want first guesses of their own.
        while offers := [offer for layer in self._used() for offer in self._untried(layer)[:1] if not layer.known]:
            self._round(offers, math.inf)
        while (offers := self._next_offers()) and self._round(offers, self._end_s):
            pass
        used = self._used()
        if used and not any(layer.known for layer in used):
            raise MissingError(f"nothing could be estimated; the first failure: {self._first_reason}")
        return self._result()

    @property
    def _end_s(self) -> float:
        return self._begin_s + self._tuner.budget_s

    def _reuse(self) -> None:
        estimator, device = self._tuner.estimator, self._tuner.device
        here = (device.target, self._fingerprint, 1, estimator.basis, estimator.model)
        for record in self._tuner.store.records:
            layer = self._layers.get((record.layer, record.storage))
            found = (record.target, record.device_fingerprint, record.threads, record.basis, record.model)
            if layer is None or found != here or record.candidate not in layer.task.names:
                continue
            if record.kernels == kernels_fingerprint():
                layer.records[record.candidate] = record
                self._tried.add((layer.task.key, record.candidate))
                self._reused += 1
                self._first_reason = self._first_reason or record.reason

    def _plan(self) -> None:
        """Groups are fused as their family says: what that saves is memory traffic, which no estimate knows."""
        self._counts = self._tuner.plan(lambda work: not self._layers[work_key(work)].hopeless)

    def _used(self) -> list[_Layer]:
        return [layer for key, layer in self._layers.items() if self._counts.get(key)]

    def _untried(self, layer: _Layer) -> list[Offer]:
        key, names = layer.task.key, layer.task.names
        return [
            Offer(layer.task, candidate)
            for name, candidate in zip(names, layer.task.candidates, strict=True)
            if (key, name) not in self._tried
        ]

    def _next_offers(self) -> list[Offer]:
        left_s = self._end_s - self._tuner.clock()
        if left_s <= 0.0:
            return []
        slots = max(_LEAST_PER_ROUND, int(self._pace_per_s * min(_ROUND_S, left_s)))
        ranked: list[tuple[float, int, Offer]] = []
        for layer in self._used():
            weight = self._counts[layer.task.key] * (layer.cycles or 0.0)
            for offer in self._untried(layer):
                rank = layer.task.names.index(candidate_name(offer.candidate))
                ranked.append((-weight / (1 + rank), len(ranked), offer))
        return [offer for _, _, offer in heapq.nsmallest(slots, ranked, key=lambda each: each[:2])]

    def _round(self, offers: Sequence[Offer], deadline_s: float) -> bool:
        """Estimate offers; whether anything was tried in time."""
        begin_s, count = self._tuner.clock(), 0
        for estimate in self._tuner.estimator(offers, deadline_s):
            self._keep(estimate)
            count += 1
        seconds = self._tuner.clock() - begin_s
        if count and seconds > 0:
            self._pace_per_s = count / seconds
        if self._tuner.clock() < deadline_s:
            # Of the others nothing can be said.
            self._tried |= {(offer.task.key, candidate_name(offer.candidate)) for offer in offers}
        self._plan()
        return count > 0

    def _keep(self, estimate: Estimate) -> None:
        tuner = self._tuner
        record = estimated_record(estimate, tuner.estimator.basis, tuner.estimator.model, tuner.device, tuner.host)
        self._tuner.store.append(record)
        layer = self._layers[estimate.offer.task.key]
        layer.records[record.candidate] = record
        self._tried.add((layer.task.key, record.candidate))
        self._estimated += record.status == "ok"
        self._failed += record.status != "ok"
        self._first_reason = self._first_reason or record.reason
        cycles = sum_over_calls((layer.cycles, self._counts[layer.task.key]) for layer in self._used())
        elapsed_s = self._tuner.clock() - self._begin_s
        self._tuner.progress(StaticProgress(elapsed_s, cycles, self._estimated, self._failed))

    def _result(self) -> StaticResult:
        estimator = self._tuner.estimator
        return StaticResult(
            layers=tuple(_estimated(layer, self._counts[layer.task.key]) for layer in self._used()),
            basis=estimator.basis,
            model=estimator.model,
            estimated=self._estimated,
            failed=self._failed,
            reused=self._reused,
            seconds=self._tuner.clock() - self._begin_s,
        )


def _estimated(layer: _Layer, count: int) -> EstimatedLayer:
    known, chosen = layer.known, layer.chosen
    record = layer.records.get(candidate_name(chosen))
    return EstimatedLayer(
        task=layer.task,
        count=count,
        chosen=chosen,
        cycles=layer.cycles,
        first_guess_cycles=known.get(layer.task.names[0]),
        instructions_per_mac=record.instructions_per_mac if record else None,
        estimated=len(known),
        failed=len(layer.records) - len(known),
    )
