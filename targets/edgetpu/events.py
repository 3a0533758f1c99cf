"""Every event of a timed plan, one by one and without jumps: for traces, and to check the timeline against.

Steps are kept in lists by their place in the layer, and each rule of `timeline` is written out as it is stated there.
"""

from collections.abc import Iterator

from mnv3c.targets.edgetpu.emulation import Interval, Resource
from mnv3c.targets.edgetpu.planner import TimedPlan, TimedStep
from mnv3c.targets.edgetpu.timeline import Entry, Program, Run, Step


def intervals(timed: TimedPlan) -> Iterator[Interval]:
    """The events in order of layers and steps; those that take no time are left out.

    A last store belongs to the layer that computed it, though the DMA may do it after the next layer's first weights.
    """
    before = Entry(0, 0, 0)
    owner = ""
    for step in timed.steps:
        layer = _Layer(step, before, owner)
        yield from layer.run()
        before, owner = layer.leaves(), step.layers[-1].job.name
    if before.pending:
        start = max(before.dma, before.done)
        yield Interval(owner, "dma", "store", start, start + before.pending)


def unrolled(program: Program) -> Iterator[Step]:
    """All steps in order."""
    yield program.first
    yield from _steps(program.rest)


def _steps(runs: tuple[Run, ...]) -> Iterator[Step]:
    for run in runs:
        for _ in range(run.repeats):
            if run.step is None:
                yield from _steps(run.body)
            else:
                yield run.step


class _Layer:
    """The events of one layer."""

    def __init__(self, step: TimedStep, entry: Entry, owner_before: str) -> None:
        self._step, self._entry, self._owner_before = step, entry, owner_before
        self._name = " + ".join(layer.job.name for layer in step.layers)
        self._begin = entry.done + step.launch_cycles
        self._dma = entry.dma
        self._array: list[int] = []
        self._posts: list[int] = []
        self._stores: list[int] = []
        self._pending = entry.pending

    def run(self) -> Iterator[Interval]:
        """All events but the last store."""
        if self._begin > self._entry.done:
            yield Interval(self._name, "launch", "launch", self._entry.done, self._begin)
        for place, step in enumerate(unrolled(self._step.program)):
            yield from self._tile(place, step)

    def leaves(self) -> Entry:
        """How the machine is left."""
        done = max([self._begin, *self._array[-1:], *self._posts[-1:]])
        return Entry(max(self._dma, self._entry.done), done, self._pending)

    def _tile(self, place: int, step: Step) -> Iterator[Interval]:
        weights, activations, array, vector, store, waits = step
        ready = self._begin
        if weights:
            yield self._moves("load weights", 0 if place == 0 else self._buffer_free(place), weights)
            ready = max(ready, self._dma)
        if place == 0:
            yield from self._stored()
        if activations:
            free = self._entry.done if place == 0 else self._buffer_free(place)
            yield self._moves("load", free, activations)
            ready = max(ready, self._dma)
        if place:
            yield from self._stored()
        freed = self._posts[-1:] if waits else self._posts[-2:-1]
        start = max([ready, *self._array[-1:], *freed])
        self._array.append(start + array)
        if array:
            yield self._event("array", "compute", start, start + array)
        if vector or store:
            start = max([start + array, *self._posts[-1:], *self._stores[-2:-1]])
            self._posts.append(start + vector)
            if vector:
                yield self._event("vector", "post", start, start + vector)
        self._pending = store

    def _buffer_free(self, place: int) -> int:
        """When what used this buffer two steps ago is done with it; before the layer began it was free."""
        read = self._array[place - 2] if place >= 2 else self._begin
        return max([read, *(self._posts[-2:-1] if self._step.program.held else [])])

    def _stored(self) -> Iterator[Interval]:
        """The store of the step before, if it is still to come."""
        if self._pending:
            first = not self._array
            ready = self._entry.done if first else self._posts[-1]
            start = max(self._dma, ready)
            self._dma = start + self._pending
            owner = self._owner_before if first else self._name
            if not first:
                self._stores.append(self._dma)
            yield Interval(owner, "dma", "store", start, self._dma)
            self._pending = 0

    def _moves(self, what: str, free: int, cycles: int) -> Interval:
        start = max(self._dma, free)
        self._dma = start + cycles
        return self._event("dma", what, start, self._dma)

    def _event(self, resource: Resource, what: str, start: int, end: int) -> Interval:
        return Interval(self._name, resource, what, start, end)
