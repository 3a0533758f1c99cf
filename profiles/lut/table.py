"""A look-up table: latencies of the units of a space's networks on one device, and where each comes from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum, sqrt
from typing import Literal

from mnv3c.graph.errors import UserError
from mnv3c.profiles.lut.units import Unit
from mnv3c.profiles.profile import Identity

Provenance = Literal["measured", "predicted", "emulated"]
PROVENANCES: tuple[Provenance, ...] = ("measured", "predicted", "emulated")
_MOST_NAMED = 3


@dataclass(frozen=True)
class Entry:
    """One unit: the milliseconds that it adds to a network, and the ends of their interval.

    `p50_ms` is the median of `n` runs and `p90_ms` their 90th percentile where it was measured; otherwise `p50_ms` is
    what is expected, and both others are None. `low_ms` to `high_ms` is the 90 % interval of a prediction, the 95 %
    interval of a measured median, and of no width where the entry was emulated: an emulator is exact about a machine
    that is not quite the real one. `resolutions` are the image sides of the networks that have the unit; `in_range` is
    False where a prediction lies outside what the profile has seen.

    Of a sum of several predicted layers, `independent_below_ms` and `independent_above_ms` are how far the ends would
    lie from `p50_ms` if the layers' errors were independent, so that a network's interval is that of its layers.
    """

    unit: Unit
    p50_ms: float
    low_ms: float
    high_ms: float
    provenance: Provenance
    resolutions: tuple[int, ...]
    in_range: bool = True
    n: int | None = None
    p90_ms: float | None = None
    independent_below_ms: float | None = None
    independent_above_ms: float | None = None

    @property
    def width_ms(self) -> float:
        """Width of the interval in milliseconds."""
        return self.high_ms - self.low_ms


@dataclass(frozen=True)
class Additivity:
    """How far sums of entries were from whole networks: random networks, of which each was predicted as a whole.

    `mape` is the mean absolute difference in percent of the whole, `bias` the mean difference, `spearman` the rank
    correlation (None where all networks are alike); `whole` says how the whole networks' latencies came about.
    """

    networks: int
    mape: float
    bias: float
    spearman: float | None
    whole: Provenance


@dataclass(frozen=True)
class NetworkLatency:
    """A network's latency from a table, in milliseconds, with its interval; how many entries were of which kind."""

    total_ms: float
    low_ms: float
    high_ms: float
    counts: Mapping[Provenance, int]


@dataclass(frozen=True)
class Table:
    """The entries of a space on a device.

    A network takes `network_ms` and the sum of its units. `correlation` is that of the errors of entries within one
    network, by which their intervals add up. `made_by` says of each kind of entry how it came about.
    """

    space: str
    identity: Identity
    resolutions: tuple[int, ...]
    entries: tuple[Entry, ...]
    made_by: Mapping[Provenance, str]
    network_ms: float = 0.0
    correlation: float = 1.0
    additivity: Additivity | None = None

    @cached_property
    def _by_unit(self) -> Mapping[Unit, Entry]:
        return {entry.unit: entry for entry in self.entries}

    @property
    def counts(self) -> Mapping[Provenance, int]:
        """How many entries are of each kind."""
        return _counts(self.entries)

    def __contains__(self, unit: Unit) -> bool:
        return unit in self._by_unit

    def entry(self, unit: Unit) -> Entry:
        """The unit's entry. Raises UserError that names the unit where there is none: nothing is interpolated."""
        self._require([unit])
        return self._by_unit[unit]

    def missing(self, units: Iterable[Unit]) -> tuple[Unit, ...]:
        """The units that have no entry, each once."""
        return tuple(dict.fromkeys(unit for unit in units if unit not in self._by_unit))

    def latency_ms(self, units: Iterable[Unit]) -> float:
        """Milliseconds of a network of these units (see `units_of_graph`). Raises UserError naming missing ones."""
        listed = tuple(units)
        self._require(listed)
        return self.network_ms + fsum(self._by_unit[unit].p50_ms for unit in listed)

    def latency(self, units: Iterable[Unit]) -> NetworkLatency:
        """The same with its interval. Raises UserError naming missing units."""
        listed = tuple(units)
        total_ms = self.latency_ms(listed)
        entries = [self._by_unit[unit] for unit in listed]
        below_ms = self._summed([(entry.p50_ms - entry.low_ms, entry.independent_below_ms) for entry in entries])
        above_ms = self._summed([(entry.high_ms - entry.p50_ms, entry.independent_above_ms) for entry in entries])
        return NetworkLatency(total_ms, max(0.0, total_ms - below_ms), total_ms + above_ms, _counts(entries))

    def of_resolution(self, resolution: int) -> tuple[Entry, ...]:
        """The entries that networks for images of this side need."""
        return tuple(entry for entry in self.entries if resolution in entry.resolutions)

    def _summed(self, widths: Sequence[tuple[float, float | None]]) -> float:
        """The width of a sum of entries, of each of which its own is given and that of independent layers, if known."""
        share = self.correlation
        squares = fsum((width if independent is None else independent) ** 2 for width, independent in widths)
        return sqrt(share * fsum(_plain_sum(*each, share) for each in widths) ** 2 + (1 - share) * squares)

    def _require(self, units: Iterable[Unit]) -> None:
        if missing := self.missing(units):
            named = ", ".join(f"'{unit}'" for unit in missing[:_MOST_NAMED])
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            raise UserError(
                f"the table of space '{self.space}' on {self.identity.device} has no entry for {named}{more}"
            )


def _plain_sum(width: float, independent: float | None, share: float) -> float:
    """The sum of the widths of an entry's layers, from what they make with this correlation, and without any."""
    if independent is None or share == 0:
        return width
    return sqrt(max(0.0, width**2 - (1 - share) * independent**2) / share)


def _counts(entries: Iterable[Entry]) -> Mapping[Provenance, int]:
    found = [entry.provenance for entry in entries]
    return {kind: found.count(kind) for kind in PROVENANCES}
