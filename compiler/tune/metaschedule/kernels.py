"""A target with recorded traces: beside its families' kernels it offers each layer the fastest trace known for it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mnv3c.compiler.tune.choice import scores
from mnv3c.compiler.tune.metaschedule.traces import TraceFolder, find_trace
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.work import WorkKey, kernels_fingerprint, work_key
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate, Family, LayerWork, Schedulable, Target

Offer = Callable[[LayerWork], tuple[Candidate, ...]]


def with_recorded_traces(
    target: Target,
    device: CpuDevice,
    records: Iterable[Record],
    folders: Sequence[TraceFolder],
    threads: int = 1,
) -> Target:
    """The target with a candidate more for each layer of which `records` know a working trace, the fastest.

    Traces count that were found on a device of the class, with so many threads or one, for the computation as it is
    written now, and that lie in one of the folders; a layer that no family takes is then no longer refused. Raises
    UserError for a trace file that was changed.
    """
    known = _traced_records(target, device, records, threads)
    if not known:
        return target

    def offer(work: LayerWork) -> tuple[Candidate, ...]:
        plain = target.traced(work, device)
        return () if plain is None else _fastest(plain, known.get(work_key(work), ()), folders)

    return _extended(target, offer)


def with_plain_kernels(target: Target, device: CpuDevice) -> Target:
    """The target with a slow but right kernel for layers that none of its families takes, to be searched from."""
    families = target.families()

    def offer(work: LayerWork) -> tuple[Candidate, ...]:
        plain = target.traced(work, device)
        taken = any(family.candidates(work, device) is not None for family in families)
        return () if plain is None or taken else (plain,)

    return _extended(target, offer)


def is_traced(record: Record, plain: Schedulable) -> bool:
    """Whether a record is of the computation as it is written now, under some trace."""
    return record.family == plain.family and record.kernels == kernels_fingerprint()


def _traced_records(
    target: Target, device: CpuDevice, records: Iterable[Record], threads: int
) -> dict[WorkKey, list[Record]]:
    known: dict[WorkKey, list[Record]] = defaultdict(list)
    traced: set[WorkKey] = set()
    for record in records:
        here = (record.target, record.device_class) == (target.name, device.device_class)
        if here and record.threads in (threads, 1) and record.basis == "measured":
            known[record.layer, record.storage].append(record)
            if record.status == "ok" and record.parameters.get("trace"):
                traced.add((record.layer, record.storage))
    return {key: known[key] for key in sorted(traced)}


def _fastest(plain: Schedulable, records: Sequence[Record], folders: Sequence[TraceFolder]) -> tuple[Candidate, ...]:
    """For each device and number of threads the fastest trace that can be found."""
    groups: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.device_fingerprint, record.threads].append(record)
    fastest: dict[str, Candidate] = {}
    for _, group in sorted(groups.items()):
        found = scores(group)
        numbers = {
            record.candidate: record.parameters.get("trace", 0)
            for record in group
            if record.candidate in found and is_traced(record, plain)
        }
        for name in sorted(numbers, key=lambda name: (found[name].latency_us, name)):
            trace = find_trace(numbers[name], folders) if numbers[name] else None
            if trace is not None:
                fastest.setdefault(name, plain.scheduled(trace))
                break
    return tuple(fastest[name] for name in sorted(fastest))


@dataclass(frozen=True)
class _AnyFamily:
    """The first family that takes a layer, and what else is offered for it."""

    families: tuple[Family, ...]
    offer: Offer
    name: str = "any"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[Candidate, ...] | None:
        found = (family.candidates(work, device) for family in self.families)
        own = next((candidates for candidates in found if candidates is not None), None)
        # A layer that no family takes reads stored tensors: whether a conversion pays, the families decide.
        if own is None and any(storage != "target" for storage in work.storage):
            return None
        return (*(own or ()), *self.offer(work)) or None


class _Extended:
    """A target with other families; all else is the target's."""

    def __init__(self, target: Target, families: tuple[Family, ...]) -> None:
        self._target, self._families = target, families

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def families(self) -> tuple[Family, ...]:
        """One family, which asks the target's."""
        return self._families


def _extended(target: Target, offer: Offer) -> Target:
    return cast(Target, _Extended(target, (_AnyFamily(target.families(), offer),)))
