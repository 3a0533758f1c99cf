"""What units take within networks, for devices where that depends on their neighbours.

A compiler fuses layers across blocks and asks for weights ahead; an accelerator keeps maps on chip. So whole networks
are planned or emulated, as many as have every unit of a space (`cover`), and a unit's entry is the mean over them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from pathlib import Path
from typing import Any, Protocol

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.layer import layers
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.jsonl_store import JsonlStore, LineFormat
from mnv3c.profiles.lut.table import Entry, Provenance
from mnv3c.profiles.lut.units import Unit
from mnv3c.profiles.work import parse_work
from mnv3c.search.cover import covering
from mnv3c.search.latency import EmulatedLatency, ProfileLatency
from mnv3c.search.space import Space, Subnet
from mnv3c.search.workers import HERE, Workers, work_kept_in
from mnv3c.targets.edgetpu.device import AcceleratorDevice


@dataclass(frozen=True)
class Cost:
    """Milliseconds: expected, and the ends of the interval; whether a profile has seen the like."""

    p50_ms: float
    low_ms: float
    high_ms: float
    in_range: bool = True


class Judge(Protocol):
    """Says what each layer of a fused network takes, by the name of its node."""

    @property
    def provenance(self) -> Provenance:
        """What kind of entries it makes."""
        ...

    @property
    def identity(self) -> str:
        """What it stands on; results of another identity are not reused."""
        ...

    @property
    def correlation(self) -> float:
        """Of the errors of layers within a network."""
        ...

    def costs(self, fused: Graph) -> dict[str, Cost]:
        """The cost of every layer. Raises UserError for a layer that it does not know."""
        ...


@dataclass(frozen=True)
class PlannedKernels:
    """A profile of our own compiler's kernels: a layer's cost is its share of its kernel's."""

    latency: ProfileLatency
    provenance: Provenance = "predicted"

    @property
    def identity(self) -> str:
        """The profile's."""
        return self.latency.identity

    @property
    def correlation(self) -> float:
        """The profile's."""
        return self.latency.profile.intervals.correlation

    def costs(self, fused: Graph) -> dict[str, Cost]:
        """As `Judge.costs`."""
        overhead = self.latency.profile.overhead
        prediction = self.latency.prediction(fused)
        kernels = [layer.unit for layer in prediction.layers]
        return {
            layer.name: Cost(
                overhead.scale * layer.latency_ms + overhead.unit_ms / kernels.count(layer.unit),
                overhead.scale * layer.low_ms + overhead.unit_ms / kernels.count(layer.unit),
                overhead.scale * layer.high_ms + overhead.unit_ms / kernels.count(layer.unit),
                not layer.outside,
            )
            for layer in prediction.layers
        }


@dataclass(frozen=True)
class EmulatedLayers:
    """The emulator of an accelerator: a layer's cost is its cycles, which begin where the layer before ended."""

    device: AcceleratorDevice
    provenance: Provenance = "emulated"
    correlation: float = 1.0

    @property
    def identity(self) -> str:
        """The device's name and a digest of its numbers."""
        return EmulatedLatency(self.device).identity

    def costs(self, fused: Graph) -> dict[str, Cost]:
        """As `Judge.costs`."""
        result = EmulatedLatency(self.device).emulation(fused)
        times_ms = {layer.name: layer.cycles / result.clock_hz * 1e3 for layer in result.layers}
        return {name: Cost(ms, ms, ms) for name, ms in times_ms.items()}


@dataclass(frozen=True)
class Context:
    """One network of the cover: `number` counts those of a resolution; what each of its units took there."""

    space: str
    identity: str
    resolution: int
    number: int
    costs: tuple[tuple[Unit, Cost], ...]

    @property
    def units(self) -> tuple[Unit, ...]:
        """Of the network, front to back."""
        return tuple(unit for unit, _ in self.costs)


@dataclass(frozen=True)
class Network:
    """A network of the cover for a resolution; `number` counts them."""

    resolution: int
    number: int
    subnet: Subnet


@dataclass(frozen=True)
class NetworkCosts:
    """What each unit of a network of a space takes in it: a function that can be sent to other machines."""

    space: Space
    judge: Judge

    def __call__(self, network: Network) -> tuple[tuple[Unit, Cost], ...]:
        """Raises UserError for a layer that the judge does not know, naming the network."""
        graph = run_passes(self.space.graph(network.subnet, network.resolution), default_passes())
        try:
            return unit_costs(graph, self.space.units(network.subnet, network.resolution), self.judge)
        except UserError as error:
            where = f"space '{self.space.name}', network {network.number} at {network.resolution}"
            raise UserError(f"{where}: {error}") from None


def entries_in_context(
    space: Space,
    resolutions: Sequence[int],
    judge: Judge,
    store: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
    workers: Workers = HERE,
) -> tuple[Entry, ...]:
    """An entry for each unit of all networks for these resolutions, in the order of `Space.units_of_all`.

    Networks in `store` are not judged again, and each is kept there when it is done, in whatever order the workers
    finish them; `progress` hears how many are.

    Raises UserError for a layer that the judge does not know: networks that are being judged by then are finished and
    kept. MissingError where the store cannot be written, or the workers are lost.
    """
    kept = JsonlStore(store, _LINES) if store is not None else None
    known = {_LINES.key(context): context for context in kept.records} if kept else {}
    tally = _Tally.of(space, resolutions, progress)
    problems: list[UserError] = []

    def unknown() -> Iterator[Network]:
        for resolution in resolutions:
            for number, subnet in enumerate(covering(space, resolution)):
                if problems:
                    return
                context = known.get((space.digest, judge.identity, resolution, number))
                # Another version may have chosen other networks.
                if context and context.units == space.units(subnet, resolution):
                    tally.add(context)
                else:
                    yield Network(resolution, number, subnet)

    with work_kept_in(store):
        for network, costs in workers.map(NetworkCosts(space, judge), unknown()):
            if isinstance(costs, UserError):
                problems.append(costs)
                continue
            context = Context(space.digest, judge.identity, network.resolution, network.number, costs)
            if kept:
                kept.append(context)
            tally.add(context)
    if problems:
        raise problems[0]
    return tally.entries(judge.provenance)


@dataclass
class _Tally:
    """What each unit took in the networks so far; in which order they come does not matter."""

    found: dict[Unit, list[Cost]]
    sides: dict[Unit, list[int]]
    progress: Callable[[int], None]
    done: int = 0

    @staticmethod
    def of(space: Space, resolutions: Sequence[int], progress: Callable[[int], None]) -> "_Tally":
        tally = _Tally({}, {}, progress)
        for resolution in resolutions:
            for unit in space.units_of_all(resolution):
                tally.found.setdefault(unit, [])
                tally.sides.setdefault(unit, []).append(resolution)
        return tally

    def add(self, context: Context) -> None:
        for unit, cost in context.costs:
            self.found[unit].append(cost)
        self.done += 1
        self.progress(self.done)

    def entries(self, provenance: Provenance) -> tuple[Entry, ...]:
        return tuple(_entry(unit, costs, provenance, tuple(self.sides[unit])) for unit, costs in self.found.items())


def unit_costs(fused: Graph, units: Sequence[Unit], judge: Judge) -> tuple[tuple[Unit, Cost], ...]:
    """What each unit of a network takes in it: the sum over its layers."""
    costs = judge.costs(fused)
    names = iter(node.name for node in layers(fused))
    return tuple((unit, _sum([costs[next(names)] for _ in unit.layer_keys()], judge.correlation)) for unit in units)


def _sum(costs: Sequence[Cost], correlation: float) -> Cost:
    p50_ms = fsum(cost.p50_ms for cost in costs)
    below, above = (
        _width([abs(end - cost.p50_ms) for cost, end in zip(costs, ends, strict=True)], correlation)
        for ends in ([cost.low_ms for cost in costs], [cost.high_ms for cost in costs])
    )
    return Cost(p50_ms, max(0.0, p50_ms - below), p50_ms + above, all(cost.in_range for cost in costs))


def _width(widths: Sequence[float], correlation: float) -> float:
    return sqrt(correlation * fsum(widths) ** 2 + (1 - correlation) * fsum(width * width for width in widths))


def _entry(unit: Unit, costs: Sequence[Cost], provenance: Provenance, resolutions: tuple[int, ...]) -> Entry:
    """The mean over contexts, rounded once whatever their order; its interval holds every context's."""
    p50_ms = fsum(cost.p50_ms for cost in costs) / len(costs)
    low_ms, high_ms = min(cost.low_ms for cost in costs), max(cost.high_ms for cost in costs)
    return Entry(
        unit,
        p50_ms,
        min(low_ms, p50_ms),
        max(high_ms, p50_ms),
        provenance,
        resolutions,
        all(cost.in_range for cost in costs),
    )


def _encode(context: Context) -> bytes:
    document = {
        "version": 1,
        "space": context.space,
        "identity": context.identity,
        "resolution": context.resolution,
        "number": context.number,
        "costs": [[str(unit), cost.p50_ms, cost.low_ms, cost.high_ms, cost.in_range] for unit, cost in context.costs],
    }
    return (json.dumps(document) + "\n").encode()


def _decode(line: bytes, origin: str) -> Context:
    try:
        document: dict[str, Any] = json.loads(line)
        costs = tuple(
            (_unit(work), Cost(float(p50), float(low), float(high), bool(in_range)))
            for work, p50, low, high, in_range in document["costs"]
        )
        return Context(
            str(document["space"]),
            str(document["identity"]),
            int(document["resolution"]),
            int(document["number"]),
            costs,
        )
    except (ValueError, KeyError, TypeError, UserError):
        raise UserError(f"{origin}: is not what mnv3c lut has kept; remove the file to begin anew") from None


def _unit(text: str) -> Unit:
    work: Any = parse_work(text)
    unit: Unit = work
    return unit


_LINES: LineFormat[Context, tuple[str, str, int, int]] = LineFormat(
    encode=_encode,
    decode=_decode,
    key=lambda context: (context.space, context.identity, context.resolution, context.number),
    newer=lambda one, other: other,
    beginning=b'{"version": 1',
)
