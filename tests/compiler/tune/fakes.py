"""A tuner's surroundings without kernels: candidates with a cost, a clock that measuring moves, records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv3c.compiler.tune.measure import Measurement, Times, Trial
from mnv3c.compiler.tune.record import Record, Status
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.work import WorkKey
from mnv3c.graph.ops import Conv2d
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.target import GroupWork, LayerWork

SECONDS_PER_CANDIDATE = 0.25


@dataclass(frozen=True)
class FakeCandidate:
    """Takes `cost_us`; fails where `status` says so."""

    size: int
    cost_us: float
    status: Status = "ok"
    family: str = "fake"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"size": self.size}

    @property
    def workspace_elements(self) -> int:
        return 0

    def pack(self, weights: Mapping[str, npt.NDArray[np.float32]]) -> tuple[npt.NDArray[np.float32], ...]:
        raise NotImplementedError

    def build(self, symbol: str) -> Any:
        raise NotImplementedError


def pointwise(channels: int = 16, rows: int = 7) -> LayerWork:
    x, y = TensorType((1, rows, rows, 16)), TensorType((1, rows, rows, channels))
    return LayerWork(Conv2d(channels, (1, 1)), (x,), y, ("target",))


def task(costs_us: Sequence[float], channels: int = 16, failing: Mapping[int, Status] | None = None) -> Task:
    """A layer whose candidate i takes `costs_us[i]`."""
    failures = failing or {}
    return Task(
        pointwise(channels),
        tuple(FakeCandidate(i + 1, cost, failures.get(i, "ok")) for i, cost in enumerate(costs_us)),
    )


@dataclass
class FakeMachine:
    """A clock, and measuring that takes time on it. Keeps the trials it was given."""

    now_s: float = 0.0
    drift: Callable[[float], float] = lambda now_s: 1.0
    trials: list[Trial] = field(default_factory=list)

    def clock(self) -> float:
        return self.now_s

    def measure(self, trials: Sequence[Trial], deadline_s: float) -> Iterator[Measurement]:
        for trial in trials:
            if self.now_s >= deadline_s:
                return
            self.trials.append(trial)
            factor = self.drift(self.now_s)
            good = [c for c in ([trial.anchor] if trial.anchor else list(trial.candidates)) if _fake(c).status == "ok"]
            for candidate in trial.candidates:
                self.now_s += SECONDS_PER_CANDIDATE
                fake = _fake(candidate)
                if fake.status != "ok":
                    yield Measurement(trial.task, candidate, fake.status, f"it is a {fake.status}")
                    continue
                cost_us, baseline = fake.cost_us * factor, good[0]
                ratio = fake.cost_us / _fake(baseline).cost_us
                times = Times(cost_us, cost_us, 9, baseline, cost_us / ratio, ratio, 0.0001)
                yield Measurement(trial.task, candidate, "ok", times=times)


def every_layer_once(tasks: Sequence[Task]) -> Callable[[Callable[[GroupWork], bool]], Mapping[WorkKey, int]]:
    return lambda fuse: {task.key: 1 for task in tasks}


def record(**changes: object) -> Record:
    """A good record, changed."""
    fields: dict[str, object] = {
        "layer": "conv2d 1x7x7x16->1x7x7x16",
        "storage": ("target",),
        "target": "x86_64",
        "device": "host",
        "device_class": "haswell",
        "device_fingerprint": "0" * 16,
        "threads": 1,
        "kernels": "a" * 16,
        "family": "fake",
        "parameters": {"size": 1},
        "status": "ok",
        "median_us": 10.0,
        "min_us": 9.0,
        "baseline": "fake size=1",
        "baseline_us": 10.0,
        "ratio": 1.0,
        "ratio_error": 0.001,
        "n": 30,
        "when": "2026-01-02T03:04:05Z",
        "host": "a machine",
    }
    return Record.model_validate(fields | changes)


def failure(status: Status = "crash", **changes: object) -> Record:
    """The record of a failed candidate."""
    nothing = dict.fromkeys(("median_us", "min_us", "baseline_us", "ratio", "ratio_error"))
    return record(**{"status": status, "reason": "SIGSEGV", "baseline": "", "n": 0, **nothing, **changes})


def _fake(candidate: object) -> FakeCandidate:
    assert isinstance(candidate, FakeCandidate)
    return candidate
