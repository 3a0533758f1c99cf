"""How a network runs on one accelerator: what lies where, and how each layer is cut into tiles.

A plan is what the timeline times, what the energy model counts, and what the command stream spells out: three readings
of one decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mnv3c.targets.edgetpu.work import Job

LoopOrder = Literal["weights_outer", "rows_outer"]


@dataclass(frozen=True)
class Tiling:
    """The tile of a layer, in outputs.

    A tile is `rows` x `columns` output positions by `channels` output channels, and `depth` input channels at a time
    (all taps of the window); depth tiles are innermost and accumulate. `columns` is the whole width unless `rows` is 1.
    `weights_outer` keeps a tile of weights while all positions pass by; `rows_outer` keeps a slab of input while all
    channels pass by. Edge tiles are smaller. Vector work uses rows, columns and channels alone; depthwise work has
    depth = channels. A layer of several groups runs its groups one after the other, `channels` and `depth` within one.
    A pointwise layer of stride 1 counts the rows of all images of a batch together; any other runs image by image.
    Rows and columns are of the input where a job reads all of that before it writes (global pools).
    """

    rows: int
    columns: int
    channels: int
    depth: int
    order: LoopOrder = "rows_outer"


@dataclass(frozen=True)
class LayerPlan:
    """One layer: its tiles, and which of its tensors move between DRAM and SRAM while it runs.

    `pinned_weight_bytes` of its weights lie in SRAM for good; the rest is loaded each time the tiles ask for it (the
    timeline takes the same share of each tile's weights to be pinned). `further_in_sram` holds for the third and later
    inputs together: all or none. The tile buffers of layers with an even place in the plan lie in the first half of the
    plan's tile memory, those with an odd one in the second.
    """

    job: Job
    tiling: Tiling
    input_in_sram: bool
    second_in_sram: bool
    output_in_sram: bool
    pinned_weight_bytes: int = 0
    further_in_sram: bool = False


@dataclass(frozen=True)
class GroupPlan:
    """Neighbouring layers fused by strips: what lies between them never exists whole, and never leaves the SRAM.

    `rows` output rows of the last layer are computed at a time; the rows that windows still need are kept (no halo is
    computed twice). `layers` carry the tilings of one strip.
    """

    layers: tuple[LayerPlan, ...]
    rows: int


@dataclass(frozen=True)
class Plan:
    """A whole network.

    `steps` are in execution order. `sram_offsets` places each resident tensor (by node name) and each layer's pinned
    weights (`NAME.weight`) in bytes from the start of the SRAM; tile buffers begin at `tile_offset` and take
    `tile_bytes`. `peak_sram_bytes` is the most that is in use at once. `input_in_sram` of the first layer is False: a
    network's input comes from, and its outputs go to, DRAM.
    """

    steps: tuple[LayerPlan | GroupPlan, ...]
    sram_offsets: Mapping[str, int] = field(default_factory=dict)
    tile_offset: int = 0
    tile_bytes: int = 0
    peak_sram_bytes: int = 0

    @property
    def layers(self) -> tuple[LayerPlan, ...]:
        """The layers' plans in order, groups spread out."""
        return tuple(
            layer for step in self.steps for layer in (step.layers if isinstance(step, GroupPlan) else (step,))
        )
