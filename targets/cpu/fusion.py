"""Which neighbouring layers are fused on CPUs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mnv3c.graph.ops import Conv2d
from mnv3c.targets.cpu.direct import Direct, DirectFamily
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.gemm import register_tiles
from mnv3c.targets.cpu.kernel import sharing_cores
from mnv3c.targets.cpu.lanes import Lanes, device_lanes
from mnv3c.targets.cpu.row_pipeline import PointwiseStage, RowPipeline, reach, ring_rows
from mnv3c.targets.cpu.window import Axis, convolution_axes, row_tiles
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import GroupWork, LayerWork

# Sources of the parts, as GroupWork writes them: a chain, its projection adding nothing, the group's input, or the
# first layer's output.
_CHAIN, _RESIDUAL_OF_INPUT, _RESIDUAL_OF_HEAD = (1,), (1, -1), (1, 0)

# A wide tensor of less than this share of the second-level cache is still there when the next layer reads it, and a
# whole product runs faster than one row by row (measured: a share of 0.38 gains a sixth, 0.36 nothing).
_CACHE_SHARE = 0.37

# Rings of at most this share of the first-level cache stay there (measured with 48 KiB: block 2 of Large, 112 columns
# of 64 channels, 311 us in one strip, 307 in two, 290 in four; block 3 201 and 192 in two).
_RING_SHARE = 0.65
_MOST_OVERLAP = 0.1
_STRIPS = (1, 2, 4, 8)

# What the tuner may try for one part at a time.
_WINDOW_COLUMNS = (4, 5, 7, 8, 10, 14)
_MOST_TILES = 6


@dataclass(frozen=True)
class RowPipelineFamily:
    """Expand or stem -> depthwise [-> project]; see row_pipeline."""

    name: str = "row_pipeline"
    lengths: tuple[int, ...] = (3, 2)

    def candidates(self, work: GroupWork, device: CpuDevice) -> tuple[RowPipeline, ...] | None:
        """Tilings of the group; None where it has another form, or where the wide tensor stays in cache anyway."""
        if not _is_pipeline(work):
            return None
        wide = work.parts[0].output
        lanes = device_lanes(device)
        wide_bytes = 4 * lanes.stored(wide.channels) * wide.spatial[0] * wide.spatial[1]
        if wide_bytes <= device.cache.l2_bytes * _CACHE_SHARE:
            return None
        found = tuple(_pipelines(work, lanes, device))
        return (*found, *_variants(found[0], device)) if found else None


def _is_pipeline(work: GroupWork) -> bool:
    head, window, *project = work.parts
    if not (isinstance(head.op, Conv2d) and head.op.groups == 1 and head.op.residual is None):
        return False
    if not (isinstance(window.op, Conv2d) and window.op.depthwise(window.inputs[0].channels)):
        return False
    if work.sources[0] != (-1,) or work.sources[1] != (0,):
        return False
    if not project:
        return True
    last = project[0].op
    known = (_CHAIN, _RESIDUAL_OF_INPUT, _RESIDUAL_OF_HEAD)
    return isinstance(last, Conv2d) and last.pointwise and work.sources[2] in known and _residual_fits(work)


def _residual_fits(work: GroupWork) -> bool:
    """A residual of the group's input must lie as stored rows."""
    return work.sources[2] != _RESIDUAL_OF_INPUT or work.parts[0].storage[0] == "target"


def _pipelines(work: GroupWork, lanes: Lanes, device: CpuDevice) -> Iterator[RowPipeline]:
    window = work.parts[1]
    assert isinstance(window.op, Conv2d)
    vertical, horizontal = convolution_axes(window.inputs[0], window.output, window.op)
    for strips in _strips(work, vertical, horizontal, lanes, device):
        columns = -(-horizontal.count // strips)
        head = _head(work.parts[0], min(reach(horizontal, columns), horizontal.size), lanes, device)
        if head is None:
            return
        project = _pointwise(work.parts[2], columns, lanes, device) if len(work.parts) == 3 else None
        yield RowPipeline(
            head=head,
            vertical=vertical,
            horizontal=horizontal,
            channels=window.output.channels,
            activation=Epilogue(window.op.activation),
            project=project,
            residual_from_head=project is not None and work.sources[2] == _RESIDUAL_OF_HEAD,
            lanes=lanes,
            tile_columns=row_tiles(columns, device.vector.registers)[0],
            chunks=max(1, min(sharing_cores(device), vertical.count // 4)),
            strips=strips,
        )


def _variants(first: RowPipeline, device: CpuDevice) -> Iterator[RowPipeline]:
    """The first guess with another tile for one of its parts."""
    columns = -(-first.horizontal.count // first.strips)
    for width in _WINDOW_COLUMNS:
        if width <= columns and width != first.tile_columns:
            yield replace(first, tile_columns=width)
    if isinstance(first.head, PointwiseStage):
        for head in _other_tiles(first.head, device):
            yield replace(first, head=head)
    else:
        for width in _WINDOW_COLUMNS:
            if width != first.head.tile_columns:
                yield replace(first, head=replace(first.head, tile_columns=width))
    if first.project is not None:
        for project in _other_tiles(first.project, device):
            yield replace(first, project=project)


def _other_tiles(stage: PointwiseStage, device: CpuDevice) -> Iterator[PointwiseStage]:
    offers = register_tiles(stage.width, stage.depth, stage.columns, stage.lanes, device)
    for rows, vectors in offers[1:_MOST_TILES]:
        yield replace(stage, tile_rows=rows, tile_vectors=vectors)


def _strips(work: GroupWork, vertical: Axis, horizontal: Axis, lanes: Lanes, device: CpuDevice) -> tuple[int, ...]:
    """Numbers of strips worth a try, best first guess first: the fewest whose rings stay in the first-level cache.

    Strips overlap by what a window reaches over its stride; where that is too much, one strip is best.
    """
    stored = lanes.stored(work.parts[0].output.channels)
    options = [n for n in _STRIPS if n == 1 or _overlap(horizontal, n) <= _MOST_OVERLAP]
    if work.parts[0].storage[0] != "target" or not _is_pointwise(work.parts[0]):
        return (1,)
    fitting = [
        n
        for n in options
        if 4 * stored * ring_rows(vertical) * reach(horizontal, -(-horizontal.count // n))
        <= _RING_SHARE * device.cache.l1d_bytes
    ]
    first = fitting[0] if fitting else 1
    return (first, *(n for n in options if n != first))


def _overlap(horizontal: Axis, strips: int) -> float:
    """The share of the first layer's columns that so many strips compute twice."""
    return strips * reach(horizontal, -(-horizontal.count // strips)) / horizontal.size - 1.0


def _is_pointwise(work: LayerWork) -> bool:
    return isinstance(work.op, Conv2d) and work.op.pointwise


def _head(work: LayerWork, columns: int, lanes: Lanes, device: CpuDevice) -> PointwiseStage | Direct | None:
    assert isinstance(work.op, Conv2d)
    if _is_pointwise(work) and work.storage[0] == "target":
        return _pointwise(work, columns, lanes, device)
    offers = DirectFamily().candidates(work, device)
    return offers[0] if offers else None


def _pointwise(work: LayerWork, width: int, lanes: Lanes, device: CpuDevice) -> PointwiseStage:
    assert isinstance(work.op, Conv2d)
    columns = work.output.channels
    depth = work.inputs[0].channels
    rows, vectors = register_tiles(width, depth, columns, lanes, device)[0]
    epilogue = Epilogue(work.op.activation, work.op.residual)
    return PointwiseStage(width, depth, columns, epilogue, lanes, rows, vectors)
