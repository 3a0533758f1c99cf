"""What can be tuned: the distinct layers and groups of a network, each with the candidates that the target offers."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from mnv3c.compiler.lower import first_guess, lower
from mnv3c.compiler.tune.work import Work, WorkKey, candidate_name, macs_of, work_key
from mnv3c.graph.ir import Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import Candidate, GroupWork, KernelTarget, LayerWork

D = TypeVar("D", bound=Device)


@dataclass(frozen=True)
class Task:
    """A layer, or a group of layers in one kernel, to be tuned. The first candidate is the first guess."""

    work: Work
    candidates: tuple[Candidate, ...]

    @cached_property
    def key(self) -> WorkKey:
        """The layer in records."""
        return work_key(self.work)

    @property
    def layer(self) -> str:
        """The text of the layer's key."""
        return self.key[0]

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one call."""
        return macs_of(self.work)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The candidates in records."""
        return tuple(map(candidate_name, self.candidates))


def sum_over_calls(values: Iterable[tuple[float | None, int]]) -> float | None:
    """Sum of (value of one call, number of calls); None where one that is called has no value."""
    total = 0.0
    for value, count in values:
        if value is None and count:
            return None
        total += count * (value or 0.0)
    return total


class Space(Generic[D]):
    """The tasks of a network, in its order: every layer, and every group that the target offers to fuse.

    `widened` gives a layer's candidates where the tuner has more of them than a family offers; the first stays first.
    Raises UserError as `lower` does.
    """

    def __init__(
        self,
        graph: Graph,
        target: KernelTarget[D],
        device: D,
        widened: Callable[[Sequence[Candidate]], Sequence[Candidate]] = tuple,
    ) -> None:
        self._graph, self._target, self._device = run_passes(graph, default_passes()), target, device
        found: dict[WorkKey, Task] = {}

        def offered(work: Work, candidates: Sequence[Candidate]) -> None:
            if work_key(work) not in found:
                found[work_key(work)] = _task(work, widened(candidates) if isinstance(work, LayerWork) else candidates)

        _visit(self._graph, target, device, lambda work: False, offered)
        self.tasks = tuple(found.values())

    def plan(self, fuse: Callable[[GroupWork], bool]) -> Mapping[WorkKey, int]:
        """How often the program calls each task where groups are fused that `fuse` wants."""
        used: Counter[WorkKey] = Counter()
        seen = _visit(self._graph, self._target, self._device, fuse, lambda work, candidates: None)
        used.update(seen)
        return used


def _visit(
    graph: Graph,
    target: KernelTarget[D],
    device: D,
    fuse: Callable[[GroupWork], bool],
    offered: Callable[[Work, Sequence[Candidate]], None],
) -> list[WorkKey]:
    """Lower the network, telling `offered` of every layer and group that comes up; the keys of those that are used."""
    used: list[WorkKey] = []

    def choose(work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
        offered(work, candidates)
        used.append(work_key(work))
        return first_guess(work, candidates)

    def choose_group(work: GroupWork, candidates: Sequence[Candidate]) -> Candidate | None:
        offered(work, candidates)
        if not fuse(work):
            return None
        used.append(work_key(work))
        return candidates[0]

    lower(graph, target, device, choose, choose_group)
    return used


def _task(work: Work, candidates: Sequence[Candidate]) -> Task:
    unique: dict[str, Candidate] = {}
    for candidate in candidates:
        unique.setdefault(candidate_name(candidate), candidate)
    return Task(work, tuple(unique.values()))
