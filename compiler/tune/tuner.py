"""The search: which candidates of which layers to measure, round by round, until time or hope runs out.

The first round measures every layer's first guess, however short the budget is: without them there is no sum. Each
further round takes as many candidates as the last rounds' pace fits into a share of the time left, and gives them to
the layers where they are expected to save most: a layer's time, times its occurrences, times the share of it that the
ranking expects to save, which is never more than what separates the layer from the device's peak. A layer whose best
candidate is expected to save less than the noise is done.
"""

import heapq
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mnv3c.compiler.tune.choice import NOISE, fusion_pays
from mnv3c.compiler.tune.layer_state import LayerState
from mnv3c.compiler.tune.measure import Measure, Measurement, Trial
from mnv3c.compiler.tune.ranking import Sample, distinct, expected_improvement
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.recording import measured_record
from mnv3c.compiler.tune.space import Task, sum_over_calls
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuned_device import TunedDevice
from mnv3c.compiler.tune.work import HASH_DIGITS, Work, WorkKey, kernels_fingerprint, work_key
from mnv3c.graph.errors import MissingError
from mnv3c.targets.target import Candidate, GroupWork

_ROUND_S = 8.0
_ROUND_SHARE = 0.4  # of the time left
_MOST_PER_LAYER = 8  # candidates of one layer in one round
_FIRST_PACE_PER_S = 4.0
_LEAST_HEADROOM = 0.02
# What a layer that the program does not use, since a group computes it or the other way round, counts of its time.
_UNUSED_WEIGHT = 0.25


@dataclass(frozen=True)
class Progress:
    """How far the search is. `sum_ms` is None until every layer has a time."""

    elapsed_s: float
    sum_ms: float | None
    measured: int
    failed: int


@dataclass(frozen=True)
class TunedLayer:
    """What was found for a layer or a group.

    Latencies are in milliseconds, of one call; None where nothing could be measured. `count` is how often the program
    calls it: 0 for a group that its parts are faster than, and for layers that are computed in a group.
    """

    task: Task
    count: int
    chosen: Candidate
    latency_ms: float | None
    first_guess_ms: float | None
    measured: int
    failed: int


@dataclass(frozen=True)
class TuningResult:
    """The layers and groups in the network's order; `sum_ms` counts each as often as the program calls it."""

    layers: tuple[TunedLayer, ...]
    measured: int
    failed: int
    reused: int
    seconds: float

    @property
    def sum_ms(self) -> float | None:
        """Sum over the network's layers; None where one has no time."""
        return sum_over_calls((layer.latency_ms, layer.count) for layer in self.layers)


@dataclass(frozen=True)
class Tuner:
    """Tunes the layers of a network for a device; `measure` does the measuring, `store` keeps every record at once.

    `plan` is `Space.plan`.
    """

    tasks: Sequence[Task]
    plan: Callable[[Callable[[GroupWork], bool]], Mapping[WorkKey, int]]
    device: TunedDevice
    store: RecordStore
    measure: Measure
    host: str
    budget_s: float
    threads: int = 1
    progress: Callable[[Progress], None] = lambda progress: None
    clock: Callable[[], float] = time.monotonic

    def run(self) -> TuningResult:
        """Measure until the budget is spent or no gain is expected.

        Raises MissingError where not one candidate could be measured, naming the first failure.
        """
        return _Run(self).run()


class _Run:
    def __init__(self, tuner: Tuner) -> None:
        self._tuner, self._begin_s = tuner, tuner.clock()
        self._fingerprint = tuner.device.fingerprint[:HASH_DIGITS]
        self._layers = {task.key: LayerState(task) for task in tuner.tasks}
        self._measured = self._failed = self._reused = 0
        self._first_reason = ""
        self._pace_per_s = _FIRST_PACE_PER_S
        self._reuse()
        self._counts: Mapping[WorkKey, int] = {}
        self._possible = (tuner.plan(lambda work: False), tuner.plan(lambda work: True))

    def run(self) -> TuningResult:
        layers = self._layers.values()
        self._round([Trial(layer.task, None, layer.task.candidates[:1]) for layer in layers if layer.untouched])
        while (trials := self._next_trials()) and self._round(trials, self._end_s):
            pass
        if layers and not any(layer.known for layer in layers):
            raise MissingError(f"nothing could be measured; the first failure: {self._first_reason}")
        return self._result()

    @property
    def _end_s(self) -> float:
        return self._begin_s + self._tuner.budget_s

    def _reuse(self) -> None:
        found: dict[WorkKey, list[Record]] = {key: [] for key in self._layers}
        here = (self._tuner.device.target, self._fingerprint, self._tuner.threads)
        for record in self._tuner.store.records:
            layer = self._layers.get((record.layer, record.storage))
            if layer is None or record.basis != "measured" or record.candidate not in layer.task.names:
                continue
            same = (record.target, record.device_fingerprint, record.threads) == here
            if same and record.kernels == kernels_fingerprint():
                found[layer.task.key].append(record)
                self._reused += 1
                self._first_reason = self._first_reason or record.reason
        for key, layer in self._layers.items():
            layer.add(found[key])

    def _round(self, trials: Sequence[Trial], deadline_s: float = math.inf) -> bool:
        """Measure trials; whether there was anything to measure and it gave something new."""
        begin_s, count = self._tuner.clock(), 0
        if trials:
            for measurement in self._tuner.measure(trials, deadline_s):
                self._keep(self._layers[measurement.task.key], measurement)
                count += 1
        seconds = self._tuner.clock() - begin_s
        if count and seconds > 0:
            self._pace_per_s = count / seconds
        self._counts = self._tuner.plan(self._fuse)
        return count > 0

    def _keep(self, layer: LayerState, measurement: Measurement) -> None:
        tuner = self._tuner
        record = measured_record(measurement, tuner.device, tuner.threads, tuner.host)
        self._tuner.store.append(record)
        layer.add([record])
        self._measured += record.status == "ok"
        self._failed += record.status != "ok"
        self._first_reason = self._first_reason or record.reason
        elapsed_s = self._tuner.clock() - self._begin_s
        self._tuner.progress(Progress(elapsed_s, self._sum_ms(), self._measured, self._failed))

    def _fuse(self, work: GroupWork) -> bool:
        layer = self._layers.get(work_key(work))
        return layer is not None and not layer.hopeless and fusion_pays(work, self._latency_us)

    def _latency_us(self, work: Work) -> float | None:
        layer = self._layers.get(work_key(work))
        return None if layer is None or layer.latency_ms is None else 1e3 * layer.latency_ms

    def _sum_ms(self) -> float | None:
        if not self._counts:
            return None
        return sum_over_calls((layer.latency_ms, self._counts.get(key, 0)) for key, layer in self._layers.items())

    def _next_trials(self) -> list[Trial]:
        left_s = self._end_s - self._tuner.clock()
        if left_s <= 0.0:
            return []
        slots = max(1, int(self._pace_per_s * min(_ROUND_S, max(1.0, _ROUND_SHARE * left_s))))
        layers = list(self._layers.values())
        samples = [sample for layer in layers for sample in layer.samples]
        offers = [offer for at, layer in enumerate(layers) for offer in self._offers(at, layer, samples)]
        wanted: dict[int, list[int]] = {}
        for _, at, index in heapq.nsmallest(slots, offers):
            wanted.setdefault(at, []).append(index)
        return [self._trial(layers[at], indices) for at, indices in sorted(wanted.items())]

    def _trial(self, layer: LayerState, indices: Iterable[int]) -> Trial:
        candidates = layer.task.candidates
        anchor = None if layer.anchor is None else candidates[layer.anchor]
        return Trial(layer.task, anchor, tuple(candidates[index] for index in sorted(indices)))

    def _offers(self, at: int, layer: LayerState, samples: Sequence[Sample]) -> list[tuple[float, int, int]]:
        """(minus the milliseconds that it may save, layer, candidate) of the layer's most hopeful candidates."""
        remaining, latency_ms = layer.remaining, layer.latency_ms
        if not remaining:
            return []
        if latency_ms is None:
            # Everything so far has failed: whatever works is worth all.
            return [(-math.inf, at, index) for index in remaining[:_MOST_PER_LAYER]]
        shares = expected_improvement(layer.task, remaining, samples)
        headroom = max(_LEAST_HEADROOM, 1.0 - self._ideal_ms(layer.task) / max(latency_ms, 1e-6))
        best = distinct(layer.task, remaining, shares, _MOST_PER_LAYER)
        weight = self._weight(layer) * latency_ms
        return [(-weight * min(share, headroom), at, index) for index, share in best if share > NOISE]

    def _weight(self, layer: LayerState) -> float:
        key = layer.task.key
        return self._counts.get(key, 0) or _UNUSED_WEIGHT * max(counts.get(key, 1) for counts in self._possible)

    def _ideal_ms(self, task: Task) -> float:
        cores = min(self._tuner.threads, self._tuner.device.cores)
        return 2e3 * task.macs / (self._tuner.device.peak_flops * cores)

    def _result(self) -> TuningResult:
        seconds = self._tuner.clock() - self._begin_s
        layers = tuple(_tuned(layer, self._counts.get(key, 0)) for key, layer in self._layers.items())
        return TuningResult(layers, self._measured, self._failed, self._reused, seconds)


def _tuned(layer: LayerState, count: int) -> TunedLayer:
    first = layer.known.get(layer.task.names[0])
    return TunedLayer(
        task=layer.task,
        count=count,
        chosen=layer.chosen,
        latency_ms=layer.latency_ms,
        first_guess_ms=first.latency_us / 1e3 if first else None,
        measured=len(layer.known),
        failed=len(layer.records) - len(layer.known),
    )
