"""Many configurations of a device, what a network takes on each, and which of them nobody beats."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulate import emulate
from mnv3c.targets.edgetpu.lower_work import jobs_of
from mnv3c.targets.edgetpu.work import Job

Setting = tuple[str, str]
MAX_POINTS = 1_000_000


@dataclass(frozen=True)
class Workload:
    """A network as the timing model sees it, made once and emulated on every configuration."""

    name: str
    jobs: tuple[Job, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, fused: Graph) -> "Workload":
        """The workload of a graph after the default passes. Raises UserError for a layer that cannot be timed."""
        return cls(fused.name, jobs_of(fused), fused.outputs)

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the timing depends on."""
        return hashlib.sha256(repr((self.jobs, self.outputs)).encode()).hexdigest()


@dataclass(frozen=True)
class Point:
    """One network on one configuration: the device with `settings`. Where it does not run, `problem` says why."""

    network: str
    settings: tuple[Setting, ...]
    total_cycles: int = 0
    total_ms: float = 0.0
    energy_uj: float = 0.0
    area_mm2: float = 0.0
    utilization: float = 0.0
    dram_bytes: int = 0
    peak_sram_bytes: int = 0
    problem: str = ""

    @property
    def costs(self) -> tuple[float, float, float]:
        """What a configuration is judged by, less being better: latency, energy, area."""
        return self.total_ms, self.energy_uj, self.area_mm2


def parse_axis(text: str) -> tuple[str, tuple[str, ...]]:
    """`rows=8,16,32` as the key and its values. Raises UserError for another form and for a value given twice."""
    key, equals, values = text.partition("=")
    parts = tuple(part.strip() for part in values.split(","))
    if not equals or not key.strip() or not all(parts):
        raise UserError(f"--sweep must be KEY=VALUE,VALUE,..., as rows=8,16,32, not '{text}'")
    if len(set(parts)) < len(parts):
        raise UserError(f"--sweep {key.strip()}: a value is given twice in '{values}'")
    return key.strip(), parts


def grid(axes: Mapping[str, Sequence[str]]) -> tuple[tuple[Setting, ...], ...]:
    """Every combination of the axes' values, the last axis moving fastest. Raises UserError for too many."""
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MAX_POINTS:
        raise UserError(f"--sweep: {count} configurations are more than the {MAX_POINTS} allowed")
    return tuple(tuple(zip(axes, combination, strict=True)) for combination in itertools.product(*axes.values()))


def evaluate(workload: Workload, device: AcceleratorDevice, settings: tuple[Setting, ...]) -> Point:
    """One point. A configuration that is not a device, or on which a layer does not fit, becomes its `problem`."""
    try:
        configured = device.with_settings(dict(settings))
        result = emulate(workload.name, workload.jobs, workload.outputs, configured)
    except UserError as error:
        return Point(workload.name, settings, problem=str(error))
    macs = sum(layer.movement.macs for layer in result.layers)
    return Point(
        workload.name,
        settings,
        result.total_cycles,
        result.total_ms,
        result.energy_uj,
        result.area_mm2,
        macs / (result.total_cycles * configured.array.macs_per_cycle) if result.total_cycles else 0.0,
        sum(layer.dram_bytes for layer in result.layers),
        result.peak_sram_bytes,
    )


def pareto(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other point of the same network beats or equals in all costs, fastest first.

    Of points with equal costs the first is kept; those that do not run are left out.
    """
    front: list[Point] = []
    # Whatever beats a point sorts before it.
    for point in sorted((point for point in points if not point.problem), key=lambda point: point.costs):
        beaten = any(
            other.network == point.network and all(a <= b for a, b in zip(other.costs, point.costs, strict=True))
            for other in front
        )
        if not beaten:
            front.append(point)
    return tuple(front)
