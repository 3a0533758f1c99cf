"""Sweeps: networks on many configurations of an accelerator, by whatever workers there are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mnv3c.graph.errors import UserError
from mnv3c.search.workers import HERE, Workers
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.sweep import Point, Setting, Workload, evaluate

# A point takes milliseconds: several are sent at a time.
_AT_A_TIME = 8


@dataclass(frozen=True)
class Place:
    """A configuration for the workload of this index."""

    workload: int
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class _Evaluation:
    workloads: tuple[Workload, ...]
    device: AcceleratorDevice

    def __call__(self, places: Sequence[Place]) -> tuple[Point, ...]:
        return tuple(evaluate(self.workloads[place.workload], self.device, place.settings) for place in places)


def places_of(workloads: Sequence[Workload], configurations: Sequence[tuple[Setting, ...]]) -> tuple[Place, ...]:
    """All workloads on each configuration, in the order in which a sweep is shown."""
    return tuple(Place(index, settings) for settings in configurations for index in range(len(workloads)))


def sweep(
    workloads: Sequence[Workload], device: AcceleratorDevice, places: Sequence[Place], workers: Workers = HERE
) -> Iterator[tuple[Place, Point]]:
    """The point of each place, in the order in which the workers are done. Raises MissingError where those are lost."""
    parts = (places[start : start + _AT_A_TIME] for start in range(0, len(places), _AT_A_TIME))
    for part, points in workers.map(_Evaluation(tuple(workloads), device), parts):
        if isinstance(points, UserError):
            raise points
        yield from zip(part, points, strict=True)
