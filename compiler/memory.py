"""Static memory plan: one arena for all activations, offsets fixed when the network is compiled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnv3c.compiler.layout import align


@dataclass(frozen=True)
class Lifetime:
    """A buffer that exists from call `first` to call `last`, both included."""

    name: str
    bytes: int
    first: int
    last: int

    def overlaps(self, other: "Lifetime") -> bool:
        """Whether both exist during some call."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in the arena. `peak_bytes` is its size, `lower_bound_bytes` the largest sum of buffers alive at once."""

    offsets: Mapping[str, int]
    peak_bytes: int
    lower_bound_bytes: int


def plan_memory(lifetimes: Sequence[Lifetime]) -> MemoryPlan:
    """Place buffers one by one, each at the lowest 64-byte aligned offset that is free during its lifetime.

    Greedy by size: Pisarchyk, Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020), section 5. No
    one order is best for every network, so a few are tried and the plan with the smallest peak is kept.
    """
    bound = _lower_bound(lifetimes)
    orders: tuple[Callable[[Lifetime], Any], ...] = (
        lambda b: (-b.bytes, b.first, b.name),
        lambda b: (b.first, -b.bytes, b.name),
        lambda b: (-(b.last - b.first), -b.bytes, b.name),
        lambda b: (-_pressure(lifetimes, b), -b.bytes, b.first, b.name),
    )
    plans = [_place(sorted(lifetimes, key=order), bound) for order in orders]
    return min(plans, key=lambda plan: plan.peak_bytes)


def _place(buffers: Sequence[Lifetime], bound: int) -> MemoryPlan:
    placed: list[tuple[int, Lifetime]] = []
    for buffer in buffers:
        taken = sorted((offset, align(other.bytes)) for offset, other in placed if buffer.overlaps(other))
        placed.append((_lowest_gap(taken, align(buffer.bytes)), buffer))
    peak = max((offset + align(buffer.bytes) for offset, buffer in placed), default=0)
    return MemoryPlan({buffer.name: offset for offset, buffer in placed}, peak, bound)


def _pressure(lifetimes: Sequence[Lifetime], buffer: Lifetime) -> int:
    """Bytes alive during the fullest call of a buffer's lifetime."""
    return max(
        sum(align(b.bytes) for b in lifetimes if b.first <= call <= b.last)
        for call in range(buffer.first, buffer.last + 1)
    )


def _lowest_gap(taken: Sequence[tuple[int, int]], size_bytes: int) -> int:
    start = 0
    for offset, taken_bytes in taken:
        if offset - start >= size_bytes:
            break
        start = max(start, offset + taken_bytes)
    return start


def _lower_bound(lifetimes: Sequence[Lifetime]) -> int:
    calls = {buffer.first for buffer in lifetimes}
    return max((sum(align(b.bytes) for b in lifetimes if b.first <= call <= b.last) for call in calls), default=0)
