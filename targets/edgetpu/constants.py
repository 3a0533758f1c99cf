"""The constants of a network as bytes: weights in the order in which tiles are loaded, multipliers and tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.fixed_point import Rescale
from mnv3c.graph.integer.network import IntegerLayer
from mnv3c.graph.integer.ops import Product, Rounding, Table
from mnv3c.graph.integer.products import corrected_bias
from mnv3c.graph.ops import Dense
from mnv3c.targets.edgetpu.commands import Arithmetic
from mnv3c.targets.edgetpu.plan import LayerPlan
from mnv3c.targets.edgetpu.regions import Span
from mnv3c.targets.edgetpu.work import Job

_BIAS_BYTES = 4


@dataclass(frozen=True)
class WeightTile:
    """Output channels (of all groups together) by input channels (of one group): as one tile of the array takes them.

    `offset` is in bytes from the layer's first weight in DRAM; `bytes` hold the weights, and behind them, where they
    are those of the first input channels (`bias`), the int32 biases. The first `pinned_bytes` stay in the SRAM, from
    `pinned_offset` of the layer's pinned bytes on.
    """

    channels: Span
    depth: Span
    offset: int
    bytes: int
    bias: bool
    pinned_bytes: int
    pinned_offset: int

    @property
    def loaded_bytes(self) -> int:
        """Bytes that come from DRAM whenever the tile is asked for."""
        return self.bytes - self.pinned_bytes


@dataclass(frozen=True)
class WeightLayout:
    """A layer's weights, tile after tile."""

    tiles: tuple[WeightTile, ...]

    @cached_property
    def by_channels(self) -> Mapping[Span, tuple[WeightTile, ...]]:
        """The tiles of each span of output channels, in order of depth."""
        return {channels: tuple(tiles) for channels, tiles in groupby(self.tiles, key=lambda tile: tile.channels)}

    @property
    def bytes(self) -> int:
        """Bytes of all tiles."""
        return self.tiles[-1].offset + self.tiles[-1].bytes if self.tiles else 0


def weight_layout(plan: LayerPlan) -> WeightLayout:
    """Group by group, channel tile by channel tile, and innermost the depth tiles.

    Of each tile the same share is pinned, rounded down to bytes.
    """
    spans = list(_weight_spans(plan))
    sizes = [_tile_bytes(plan.job, channels, depth) for channels, depth in spans]
    total, tiles = sum(sizes), list[WeightTile]()
    streamed = max(0, total - plan.pinned_weight_bytes)
    offset = pinned_offset = 0
    for (channels, depth), size in zip(spans, sizes, strict=True):
        pinned = size - -(-size * streamed // total)
        tiles.append(WeightTile(channels, depth, offset, size, depth.start == 0, pinned, pinned_offset))
        offset, pinned_offset = offset + size, pinned_offset + pinned
    return WeightLayout(tuple(tiles))


def _weight_spans(plan: LayerPlan) -> Iterator[tuple[Span, Span]]:
    """Output channels and input channels (of one group) of each tile."""
    job, tiling = plan.job, plan.tiling
    if job.kind == "vector":
        return
    depthwise = job.kind == "depthwise"
    groups, channels = (1, job.output_shape[3]) if depthwise else (job.groups, job.n)
    depths = [Span(0, 1)] if depthwise else list(Span(0, job.input_shape[3] // job.groups).cut(tiling.depth))
    for group in range(groups):
        for channel in Span(group * channels, channels).cut(tiling.channels):
            for depth in depths:
                yield channel, depth


def _tile_bytes(job: Job, channels: Span, depth: Span) -> int:
    return channels.size * (job.window.taps * depth.size + (_BIAS_BYTES if depth.start == 0 else 0))


def weight_bytes(layer: IntegerLayer, layout: WeightLayout) -> bytes:
    """The int8 weights and int32 biases of a layer in that order; biases hold the correction for the zero point."""
    if not layout.tiles:
        return b""
    step = product_of(layer)
    weight = step.weight if step.weight.ndim == 4 else step.weight[np.newaxis, np.newaxis]
    parts = []
    for tile in layout.tiles:
        part = weight[:, :, tile.depth.start : tile.depth.stop, tile.channels.start : tile.channels.stop]
        parts.append(np.ascontiguousarray(part).tobytes())
        if tile.bias:
            parts.append(corrected_bias(step, slice(tile.channels.start, tile.channels.stop)).astype("<i4").tobytes())
    return b"".join(parts)


@dataclass(frozen=True)
class ParameterBlock:
    """What the vector unit must know of a layer: a scale per output channel, then tables.

    `scale_bytes` are those of one channel, `tables` the address of each Table step by its index in the layer.
    """

    data: bytes
    arithmetic: Arithmetic
    scale_bytes: int
    tables: Mapping[int, int]


def parameter_block(layer: IntegerLayer, rounding: Rounding) -> ParameterBlock:
    """A layer's parameters as its Requantize and Lookup commands address them."""
    arithmetic, scales = _scales(layer, rounding)
    data = scales.tobytes()
    tables: dict[int, int] = {}
    for index, step in enumerate(layer.steps):
        if isinstance(step, Table):
            tables[index] = len(data)
            data += step.table.astype(np.int8).tobytes()
    return ParameterBlock(data, arithmetic, scales.itemsize * scales.shape[-1], tables)


def product_of(layer: IntegerLayer) -> Product:
    """The product that a layer begins with. Raises UserError where it does not."""
    step = layer.steps[0]
    if not isinstance(step, Product):
        raise UserError(f"layer '{layer.node.name}' has no weights to load")
    return step


def _scales(layer: IntegerLayer, rounding: Rounding) -> tuple[Arithmetic, npt.NDArray[np.generic]]:
    """Shape (channels, numbers per channel); no channel where the layer has no product."""
    step = layer.steps[0]
    if not isinstance(step, Product):
        return "fixed", np.zeros((0, 2), "<i4")
    # As `elementwise.requantize` scales, which says why a dense layer is different.
    weight_scales = step.weight_scales
    if rounding == "float32_rne":
        scales = np.float32(step.input.scale) * weight_scales / np.float32(step.output.scale)
        return "float32", scales.astype("<f4")[:, np.newaxis]
    reals = step.input.scale * weight_scales.astype(np.float64) / step.output.scale
    if isinstance(step.op, Dense) and rounding == "gemmlowp_double":
        return "float64", reals.astype("<f8")[:, np.newaxis]
    by = Rescale.from_real(reals)
    return "fixed", np.stack([by.mantissas, by.shifts], axis=-1).astype("<i4")
