"""How large a layer's tile buffers are."""

from dataclasses import replace

from mnv3c.targets.edgetpu.constants import WeightLayout
from mnv3c.targets.edgetpu.plan import LayerPlan
from mnv3c.targets.edgetpu.regions import Positions, Region, Span, has_gate, window_read
from mnv3c.targets.edgetpu.tile_buffers import Buffers, allocate


def layer_buffers(plan: LayerPlan, weights: WeightLayout, base: int, limit: int | None) -> Buffers:
    """Buffers for what the layer's tiles move between DRAM and SRAM; the first tile is the largest.

    Raises UserError where they do not fit into `limit` bytes.
    """
    job, tiling, positions = plan.job, plan.tiling, Positions.of(plan.job)
    channels = min(tiling.channels, job.n if job.kind == "product" else job.output_shape[3])
    tile = Region(
        0, Span(0, min(tiling.rows, positions.rows)), Span(0, min(tiling.columns, positions.columns)), Span(0, channels)
    )
    depth = min(tiling.depth, job.input_shape[3] // job.groups) if job.kind == "product" else channels
    read = window_read(job, replace(tile, channels=Span(0, depth))).loaded
    count = positions.images * -(-positions.rows // tiling.rows) * -(-positions.columns // tiling.columns)
    parts = -(-job.output_shape[3] // channels) if job.kind == "product" else -(-job.output_shape[3] // tiling.channels)
    sizes: dict[str, int] = {}
    counts: dict[str, int] = {}
    if not plan.input_in_sram:
        sizes["input"] = read.elements
        counts["input"] = count * (-(-job.input_shape[3] // depth))
    if job.second is not None and not plan.second_in_sram:
        sizes["second"], counts["second"] = channels if has_gate(job) else tile.elements, count * parts
    loaded = [tile.loaded_bytes for tile in weights.tiles if tile.loaded_bytes]
    if loaded:
        sizes["weights"], counts["weights"] = max(loaded), len(loaded)
    if not plan.output_in_sram:
        sizes["output"], counts["output"] = channels if job.reads_whole else tile.elements, count * parts
    return allocate(job.name, base, limit, sizes, counts)
