"""Which tile a work item computes: every one that fits its registers, those first that are expected to be fastest."""

import math
from dataclasses import dataclass

from mnv3c.targets.gpu.device import GpuDevice

# A vector load takes a lane of the load pipe about as long as the multiply-adds of two vectors take an ALU: mobile
# GPUs load 16 bytes a clock for every four to eight multiply-adds.
_LOAD_MACS = 8
# Of a tile of 4 pixels and 2 slices, which TFLite's GPU delegate gives a work item on Adreno; with more registers there
# are too few waves to wait for each other's loads. (On an Adreno 616 kernels so cut explain its times best.)
_EASY_REGISTERS = 76
_PIXELS = (1, 2, 4, 8)
_SLICES = (1, 2, 4)


@dataclass(frozen=True)
class Tile:
    """`pixels` x `slices` vectors of sums in one work item."""

    pixels: int
    slices: int


@dataclass(frozen=True)
class TiledWork:
    """What is to be shared out: a map of `pixels` (of `rows` rows, which tiles do not cross) and `slices` outputs.

    Each step of the inner loop does `macs_per_vector` multiply-adds for each vector of sums, and loads
    `loads_per_pixel` vectors a pixel and `loads_per_slice` a slice; there are `steps` of it.
    """

    rows: int
    columns: int
    slices: int
    steps: int
    macs_per_vector: int
    loads_per_pixel: float
    loads_per_slice: float

    def cost(self, tile: Tile, device: GpuDevice) -> float:
        """Estimated cycles: rounds over the whole GPU, times what a work item does."""
        items = self.rows * math.ceil(self.columns / tile.pixels) * math.ceil(self.slices / tile.slices)
        lanes = device.cores.compute_units * device.cores.alus_per_unit
        rounds = math.ceil(items / lanes)
        loads = self.loads_per_pixel * tile.pixels + self.loads_per_slice * tile.slices
        crowded = max(1.0, registers(tile) / _EASY_REGISTERS)
        return rounds * self.steps * crowded * (self.macs_per_vector * tile.pixels * tile.slices + _LOAD_MACS * loads)


def registers(tile: Tile) -> int:
    """32-bit registers of a work item: sums, one vector a pixel, four vectors of weights, a dozen for addresses."""
    return 4 * (tile.pixels * tile.slices + tile.pixels + 4) + 12


def tiles(work: TiledWork, device: GpuDevice) -> tuple[Tile, ...]:
    """Tiles that fit the registers and the work, best estimate first."""
    fitting = [
        Tile(pixels, slices)
        for pixels in _PIXELS
        for slices in _SLICES
        if registers(Tile(pixels, slices)) <= device.cores.registers_per_item
        and (pixels == 1 or pixels < 2 * work.columns)
        and (slices == 1 or slices < 2 * work.slices)
    ]
    return tuple(sorted(fitting, key=lambda tile: (work.cost(tile, device), tile.pixels * tile.slices)))
