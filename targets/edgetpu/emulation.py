"""What emulating a network gives: cycles, where they went, and what was moved, layer by layer.

Cycles are those of the emulated machine. The time that the emulator itself takes is no latency.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Resource = Literal["array", "vector", "dma", "launch"]
# What held a layer up: the resource that was busy, or why the array waited.
Stall = Literal["none", "fill", "weights", "activations", "vector", "barrier", "launch", "sram"]


@dataclass(frozen=True)
class Interval:
    """A resource at work for one tile of a layer, in cycles from the network's start: one event of the timeline."""

    layer: str
    resource: Resource
    what: str
    start_cycle: int
    end_cycle: int


@dataclass(frozen=True)
class Movement:
    """What one layer moves and computes: the counts that energy is made of."""

    macs: int
    vector_operations: int
    array_sram_read_bytes: int
    array_sram_write_bytes: int
    vector_sram_read_bytes: int
    vector_sram_write_bytes: int
    dma_sram_bytes: int
    dram_read_bytes: int
    dram_write_bytes: int
    accumulator_bytes: int


@dataclass(frozen=True)
class LayerEmulation:
    """One layer. `cycles` run from the end of the layer before to the end of this one, so they sum to the total.

    `busy_cycles` has each resource's own work; `utilization` is MACs / (cycles x MACs a cycle of the array), 0..1;
    `stall` is what most of the cycles beyond the array's own work (or all, for a layer without) waited for.
    """

    name: str
    kind: str
    cycles: int
    busy_cycles: Mapping[Resource, int]
    utilization: float
    stall: Stall
    movement: Movement
    energy_pj: Mapping[str, float]

    @property
    def dram_bytes(self) -> int:
        """Bytes over the memory interface."""
        return self.movement.dram_read_bytes + self.movement.dram_write_bytes

    @property
    def total_energy_pj(self) -> float:
        """Energy of all levels together."""
        return sum(self.energy_pj.values())


@dataclass(frozen=True)
class Emulation:
    """A network on a device."""

    network: str
    device: str
    clock_hz: int
    layers: tuple[LayerEmulation, ...]
    peak_sram_bytes: int
    area_mm2: float

    @property
    def total_cycles(self) -> int:
        """Cycles from the network's start to its end."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def total_ms(self) -> float:
        """Latency at the device's clock, in milliseconds: *emulated*."""
        return self.total_cycles / self.clock_hz * 1e3

    @property
    def energy_uj(self) -> float:
        """Energy in microjoules."""
        return sum(layer.total_energy_pj for layer in self.layers) / 1e6
