"""The race: rounds of short bursts, every runtime in every round, so that drift of the machine meets all alike."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from peers.network import Network, relative_error
from peers.runtime import Runtime
from peers.worker import Burst, Job, Worker, WorkerError

TOLERANCE = 1e-3  # of the output's largest value; float32 in another order of summation stays below 1e-4


@dataclass(frozen=True)
class Result:
    """One runtime with one number of threads: its times of all rounds and its error against the NumPy reference."""

    runtime: Runtime
    threads: int
    max_error: float
    times_ms: tuple[float, ...] = field(repr=False)

    @property
    def agrees(self) -> bool:
        """Whether it computed the network at all; otherwise its times say nothing."""
        return self.max_error <= TOLERANCE

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the times."""
        return float(np.percentile(self.times_ms, percent))


@dataclass(frozen=True)
class Dropout:
    """A runtime that could not take part. `threads` is None where it failed before it came to threads."""

    runtime: str
    threads: int | None
    reason: str


@dataclass(frozen=True)
class Race:
    """`rounds` rounds of a burst each."""

    rounds: int
    burst: Burst
    message: Callable[[str], None]

    def run(
        self, network: Network, models: Sequence[tuple[Runtime, Path]], threads: int, cpus: tuple[int, ...]
    ) -> tuple[list[Result], list[Dropout]]:
        """Run every (runtime, prepared model) on the first `threads` of `cpus`; the order rotates each round."""
        dropouts: list[Dropout] = []
        errors: dict[str, float] = {}
        times: dict[str, list[float]] = {}
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for runtime, model in models:
                worker = stack.enter_context(Worker(Job(runtime, model, network.x, threads, cpus[:threads])))
                try:
                    max_error = relative_error(worker.outputs(), network.expected)
                    if max_error is None:
                        raise WorkerError("its outputs have the wrong shape or are not finite")
                    workers[runtime.name], times[runtime.name], errors[runtime.name] = worker, [], max_error
                except WorkerError as error:
                    dropouts.append(Dropout(runtime.name, threads, str(error)))
            for number in range(self.rounds):
                self.message(f"{network.label}, {threads} thread(s): round {number + 1} of {self.rounds}")
                for name in _rotated(list(workers), number):
                    try:
                        times[name] += workers[name].times_ms(self.burst)
                    except WorkerError as error:
                        dropouts.append(Dropout(name, threads, str(error)))
                        del workers[name]
        results = [
            Result(runtime, threads, errors[runtime.name], tuple(times[runtime.name]))
            for runtime, _ in models
            if runtime.name in workers
        ]
        return results, dropouts


def _rotated(names: list[str], by: int) -> list[str]:
    start = by % max(len(names), 1)
    return names[start:] + names[:start]
