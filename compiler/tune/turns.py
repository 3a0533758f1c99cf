"""Kernels of one layer that are checked and then take turns: what is asked of the process that runs them, and how.

Candidates take turns of one call each, so that drift of the machine meets all of them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Generic, Protocol, TypeVar

from mnv3c.targets.target import Candidate


class LayerSetup(Protocol):
    """A layer ready to be measured, as the process that runs its kernels needs it."""

    @property
    def number(self) -> int:
        """Its own; no other layer's."""


class LayerKernel(Protocol):
    """A kernel as that process needs it."""

    @property
    def candidate(self) -> Candidate:
        """What it was made from."""


S = TypeVar("S", bound=LayerSetup)
K = TypeVar("K", bound=LayerKernel)
_K = TypeVar("_K", contravariant=True)


@dataclass(frozen=True)
class Turns:
    """How long to measure: turns of one call each, until `limit_s` is over, but `trial_turns` in any case.

    After `trial_turns`, candidates slower than `slow` times the fastest are not called again; after `turns`, those
    slower than `close` times the fastest; `final_turns` decide among the rest.
    """

    trial_turns: int = 5
    turns: int = 20
    final_turns: int = 100
    slow: float = 1.25
    close: float = 1.06
    limit_s: float = 0.5


@dataclass(frozen=True)
class CheckRequest(Generic[S, K]):
    """Run a kernel once and compare."""

    setup: S
    kernel: K


@dataclass(frozen=True)
class TimeRequest(Generic[S, K]):
    """Time kernels that were found right; the first one stays to the end."""

    setup: S
    kernels: tuple[K, ...]
    turns: Turns


@dataclass(frozen=True)
class Checked:
    """What is wrong with a kernel, if anything; `tainted` when it wrote into memory that was not its own.

    `time_us` is what the call took that was checked, if it was timed.
    """

    problem: str = ""
    tainted: bool = False
    time_us: float = 0.0


@dataclass(frozen=True)
class Timed:
    """The times of a kernel's calls, turn by turn, and what was found wrong with it afterwards."""

    times_us: tuple[float, ...]
    checked: Checked


class Runnable(Protocol):
    """A kernel with its buffers."""

    def run(self) -> float:
        """Call the kernel; the time in microseconds."""

    def check(self) -> Checked:
        """What the calls so far have done wrong."""

    def check_again(self) -> Checked:
        """As `check`, of one more call, without the output of the calls before."""


class PreparedLayer(Protocol[_K]):
    """A layer with its inputs in memory."""

    def kernel(self, kernel: _K) -> Runnable:
        """A kernel ready to run on them."""


class TurnHandler(Generic[S, K]):
    """Answers requests in the process that runs kernels, keeping the layer of the last one; `prepare` makes one."""

    def __init__(self, prepare: Callable[[S], PreparedLayer[K]]) -> None:
        self._prepare = prepare
        self._setup: S | None = None
        self._layer: PreparedLayer[K] | None = None

    def __call__(self, request: CheckRequest[S, K] | TimeRequest[S, K] | S) -> Checked | tuple[Timed, ...] | None:
        """Answer a request; a setup alone is only prepared."""
        if isinstance(request, CheckRequest):
            kernel = self._prepared(request.setup).kernel(request.kernel)
            time_us = kernel.run()
            return replace(kernel.check(), time_us=time_us)
        if isinstance(request, TimeRequest):
            layer = self._prepared(request.setup)
            return take_turns([layer.kernel(kernel) for kernel in request.kernels], request.turns)
        self._prepared(request)
        return None

    def _prepared(self, setup: S) -> PreparedLayer[K]:
        if self._layer is None or self._setup != setup:
            # The old layer's memory is free before the new one asks for some.
            self._layer, self._setup = None, setup
            self._layer = self._prepare(setup)
        return self._layer


def take_turns(kernels: Sequence[Runnable], turns: Turns) -> tuple[Timed, ...]:
    """Time kernels that were found right; the first one stays to the end."""
    times: list[list[float]] = [[] for _ in kernels]
    active = list(range(len(kernels)))
    bars = {turns.trial_turns: turns.slow, turns.turns: turns.close}
    end_s = time.monotonic() + turns.limit_s
    for turn in range(1, turns.final_turns + 1):
        # Each turn begins elsewhere: nobody always follows the same neighbour.
        shift = turn % len(active)
        for index in (*active[shift:], *active[:shift]):
            times[index].append(kernels[index].run())
        if turn in bars:
            active = _fast_enough(times, active, bars[turn])
        alone = turn >= turns.turns and active == [0]
        if alone or (turn >= turns.trial_turns and time.monotonic() > end_s):
            break
    return tuple(Timed(tuple(each), kernel.check_again()) for each, kernel in zip(times, kernels, strict=True))


def _fast_enough(times: Sequence[Sequence[float]], active: Sequence[int], bar: float) -> list[int]:
    """Those of the active not slower than `bar` times the fastest, and the first, which all are compared with."""
    typical = {index: median(times[index]) for index in active}
    limit_us = bar * min(typical.values())
    return [index for index in active if index == 0 or typical[index] <= limit_us]
