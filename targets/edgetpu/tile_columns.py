"""Candidates as columns of numbers, and the bytes that their tiles and buffers take."""

from typing import NamedTuple, get_args

import numpy as np

from mnv3c.targets.edgetpu.array_cycles import Counts, ceil_div
from mnv3c.targets.edgetpu.layer_view import ACCUMULATOR_BYTES, LayerView, Streams
from mnv3c.targets.edgetpu.work import JobKind

KINDS = get_args(JobKind)


class Columns(NamedTuple):
    """The numbers of a layer (its kind's place in `KINDS`) and of a tiling, one element for each candidate."""

    layer: Counts
    tile_rows: Counts
    tile_columns: Counts
    tile_channels: Counts
    tile_depth: Counts
    rows_outer: Counts
    kind: Counts
    repeats: Counts
    rows: Counts
    columns: Counts
    channels: Counts
    depth: Counts
    height: Counts
    width: Counts
    row_step: Counts
    row_unit: Counts
    row_reach: Counts
    column_step: Counts
    column_unit: Counts
    column_reach: Counts
    input_channels: Counts
    taps: Counts
    passes: Counts
    weight_parts: Counts
    second_channels: Counts
    second_is_gate: Counts
    further_channels: Counts
    reads_whole: Counts
    streams_input: Counts
    streams_second: Counts
    streams_further: Counts
    streams_output: Counts
    streamed_weight_bytes: Counts


def numbers_of(view: LayerView, streams: Streams) -> tuple[int, ...]:
    """The columns of a layer, from `kind` on."""
    job = view.job
    return (
        *(KINDS.index(job.kind), view.repeats, view.rows, view.columns, view.channels, view.depth),
        *(view.height, view.width),
        *(view.row_step, view.row_unit, view.row_reach, view.column_step, view.column_unit, view.column_reach),
        *(job.input_shape[3], job.window.taps, job.passes, view.weight_parts),
        *(job.second_shape[3] if job.second_shape else 0, view.second_is_gate),
        *(sum(shape[3] for _, shape in job.further), job.reads_whole),
        *streams,
    )


class TileBytes(NamedTuple):
    """Bytes behind a tile."""

    slab: Counts
    second: Counts
    further: Counts
    store: Counts


def tile_bytes(c: Columns, rows: Counts, columns: Counts, channels: Counts) -> TileBytes:
    """Bytes of a tile of such extents; none for what stays in the SRAM."""
    positions = rows * columns
    steps_down, steps_right = (rows - 1) * c.row_step, (columns - 1) * c.column_step
    if c.row_unit.max(initial=1) > 1 or c.column_unit.max(initial=1) > 1:  # few networks resize, and divisions are slow
        steps_down, steps_right = steps_down // c.row_unit, steps_right // c.column_unit
    read_rows = np.minimum(c.height, steps_down + c.row_reach)
    read_columns = np.minimum(c.width, steps_right + c.column_reach)
    inner = np.where(c.depth > 0, c.tile_depth, np.minimum(channels, c.input_channels))
    second = np.where(c.second_is_gate > 0, 1, positions) * np.minimum(channels, c.second_channels)
    return TileBytes(
        read_rows * read_columns * inner * c.streams_input,
        second * c.streams_second,
        positions * c.further_channels * c.streams_further,
        np.where(c.reads_whole > 0, 1, positions) * channels * c.streams_output,
    )


def weight_bytes_of(c: Columns, channels: Counts) -> Counts:
    """Bytes of weights of a tile of so many channels, without those that are pinned."""
    part = np.where(c.depth > 0, c.tile_depth, 1)
    return ceil_div(c.streamed_weight_bytes * channels * part, c.weight_parts)


def memory_of(c: Columns) -> tuple[Counts, Counts]:
    """Bytes of tile buffers and of accumulators: two of all that passes by more than once, one of what comes once."""
    channel_tiles = ceil_div(c.channels, c.tile_channels)
    positions = ceil_div(c.rows, c.tile_rows) * ceil_div(c.columns, c.tile_columns) * c.repeats
    product = c.depth > 0
    depths = np.where(product, c.depth // np.maximum(1, np.minimum(c.tile_depth, c.depth)), 1)
    tile = tile_bytes(c, c.tile_rows, c.tile_columns, c.tile_channels)
    tiles = positions * channel_tiles
    # Where the depth is split, all biases of a tile come with its first part.
    biases = np.where(depths > 1, ACCUMULATOR_BYTES * c.tile_channels, 0) * (c.streamed_weight_bytes > 0)
    weights = weight_bytes_of(c, c.tile_channels) + biases
    buffers = (
        tile.slab * np.minimum(2, positions * np.where(product, depths, channel_tiles))
        + (tile.second + tile.further + tile.store) * np.minimum(2, tiles)
        + weights * np.minimum(2, channel_tiles * depths * c.repeats)
    )
    sums = c.tile_rows * c.tile_columns * c.tile_channels * ACCUMULATOR_BYTES * np.minimum(2, tiles)
    return buffers, np.where(c.kind == KINDS.index("vector"), 0, sums)
