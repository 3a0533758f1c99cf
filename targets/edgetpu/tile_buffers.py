"""The tile buffers of one layer: where in the SRAM what is loaded lies until it is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mnv3c.graph.errors import UserError

Operand = str  # input, second, weights, output


@dataclass(frozen=True)
class Buffers:
    """Addresses by operand: two that take turns (ping-pong), or one where a second does not fit or is of no use."""

    addresses: Mapping[Operand, tuple[int, ...]]
    end: int


def allocate(
    layer: str, base: int, limit: int | None, sizes: Mapping[Operand, int], counts: Mapping[Operand, int]
) -> Buffers:
    """Buffers of `sizes` bytes from the address `base` on, of at most `limit` bytes together (None: no limit).

    `counts` is how often each operand's buffer is filled. Raises UserError where even one buffer of each is too much.
    """
    double = sum(size * min(2, counts[name]) for name, size in sizes.items())
    turns = 2 if limit is None or double <= limit else 1
    single = sum(sizes.values())
    if limit is not None and turns == 1 and single > limit:
        raise UserError(f"layer '{layer}': a tile takes {single} bytes, its buffers have {limit}")
    addresses: dict[Operand, tuple[int, ...]] = {}
    for name, size in sizes.items():
        slots = min(turns, counts[name])
        addresses[name] = tuple(base + slot * size for slot in range(slots))
        base += slots * size
    return Buffers(addresses, base)


@dataclass
class Turns:
    """Which buffer is next, and what the last one filled holds."""

    buffers: Buffers
    _next: dict[Operand, int] = field(default_factory=dict)
    _held: dict[Operand, tuple[object, int]] = field(default_factory=dict)

    def holding(self, operand: Operand, what: object) -> int | None:
        """The address of what is wanted, if the buffer that was filled last holds it."""
        held = self._held.get(operand)
        return held[1] if held is not None and held[0] == what else None

    def take(self, operand: Operand, what: object = None) -> int:
        """The address of the next buffer, which will hold this."""
        slots = self.buffers.addresses[operand]
        turn = self._next.get(operand, 0)
        self._next[operand] = (turn + 1) % len(slots)
        self._held[operand] = (what, slots[turn])
        return slots[turn]

    def forget(self, operand: Operand | None = None) -> None:
        """What was loaded (of one operand, or all) is not to be used again."""
        if operand is None:
            self._held.clear()
        else:
            self._held.pop(operand, None)
