"""What every candidate tiling of every layer needs and takes: one pass over arrays for the whole network.

A layer has tiles of at most four extents: whole or last ("edge") positions, by whole or last channels. The times of
those, and how many there are, say all that the timeline needs; buffers say which candidates fit.

Arrays are indexed [positions: whole, edge][channels: whole, edge][candidate], or by less of these.
"""

from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np

from mnv3c.targets.edgetpu.array_cycles import (
    Counts,
    ceil_div,
    channel_grain,
    depthwise_cycles,
    product_cycles,
    product_operand_bytes,
)
from mnv3c.targets.edgetpu.candidate import Bound, LayerCandidates
from mnv3c.targets.edgetpu.layer_view import LayerView, Streams
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.tile_columns import KINDS, Columns, memory_of, numbers_of, tile_bytes, weight_bytes_of
from mnv3c.targets.edgetpu.tiling import TileRow, candidates


def layer_candidates(machine: Machine, layers: Sequence[tuple[LayerView, Streams]]) -> list[LayerCandidates]:
    """The candidates of each layer, in the layers' order."""
    if not layers:
        return []
    grain = channel_grain(machine.array)
    # Sorted by kind, what only one kind needs is worked out on a slice.
    by_kind = sorted(range(len(layers)), key=lambda place: KINDS.index(layers[place][0].job.kind))
    tried: dict[object, list[TileRow]] = {}
    for place in by_kind:
        if (shape := _tiled(layers[place][0])) not in tried:
            tried[shape] = candidates(layers[place][0], grain)
    rows = [tried[_tiled(layers[place][0])] for place in by_kind]
    counts = [len(of_layer) for of_layer in rows]
    table = np.array(list(zip(*(numbers_of(*layers[place]) for place in by_kind), strict=True)), np.int64)
    numbers = np.empty((len(Columns._fields), sum(counts)), np.int64)
    numbers[0] = np.repeat(np.arange(len(rows)), counts)
    numbers[1:6] = np.fromiter(chain.from_iterable(chain.from_iterable(rows)), np.int64).reshape(-1, 5).T
    numbers[6:] = np.repeat(table, counts, axis=1)
    buffers, sums = memory_of(Columns(*numbers))
    fits = np.ones(buffers.shape, bool)
    half_bytes, accumulator_bytes = machine.half_bytes, machine.array.accumulator_bytes
    if half_bytes is not None:
        fits &= buffers <= half_bytes
    if accumulator_bytes is not None:
        fits &= sums <= accumulator_bytes
    starts = np.cumsum([0, *counts[:-1]])
    bounds, details, fitting = _timed(machine, numbers[:, fits], buffers[fits])
    edges = np.searchsorted(fitting, np.arange(len(rows) + 1)).tolist()
    reach = np.zeros(len(rows), np.int64)
    np.maximum.at(reach, fitting, bounds[:, Bound._fields.index("weights")])
    least_buffers, least_sums = np.minimum.reduceat(buffers, starts), np.minimum.reduceat(sums, starts)
    found = {
        place: LayerCandidates(bounds[start:stop], details, *of_layer)
        for place, (start, stop), *of_layer in zip(
            by_kind, pairwise(edges), reach.tolist(), least_buffers.tolist(), least_sums.tolist(), strict=True
        )
    }
    return [found[place] for place in range(len(layers))]


def _tiled(view: LayerView) -> object:
    """All that the candidates of a layer depend on."""
    return view.rows, view.columns, view.channels, view.depth, view.job.kind, view.job.op.kind


def _timed(machine: Machine, numbers: Counts, buffers: Counts) -> tuple[Counts, Counts, Counts]:
    """Bounds (in order of layer and of the least end), all details, and the bounds' layers."""
    c = Columns(*numbers)
    (rows, columns), (lines, whole, rest) = _positions(c)
    n_whole, n_rest = c.channels // c.tile_channels, c.channels % c.tile_channels
    n = np.stack([c.tile_channels, np.where(n_rest > 0, n_rest, c.tile_channels)])[None]
    depths = np.where(c.depth > 0, c.depth // np.maximum(1, np.minimum(c.tile_depth, c.depth)), 1)
    many, many_n = np.stack([lines * whole, lines * (rest > 0)])[:, None], np.stack([n_whole, n_rest > 0])[None]
    positions, channel_tiles = many.sum((0, 1)), many_n.sum((0, 1))
    square = many * many_n

    sizes = tile_bytes(c, rows, columns, n)
    weight_bytes = ceil_div(weight_bytes_of(c, n[0]) * machine.weight_permille, 1000)
    keeps = depths == 1
    keeps_weights = keeps & ((c.rows_outer == 0) | (channel_tiles == 1))
    keeps_slab = keeps & (c.depth > 0) & ((c.rows_outer > 0) | (positions == 1))
    slab_times = np.where(keeps_slab, many * np.array([[[1], [0]]]), square * depths)
    weight_times = many_n[0] * np.where(keeps_weights, 1, positions * depths)
    store_times = np.where(c.reads_whole > 0, many_n * np.array([[[1]], [[0]]]), square)
    operands, unfed, array, post = _work_by_kind(machine, numbers, rows * columns, n)
    weights, slab = _transfers(machine, weight_bytes), _transfers(machine, sizes.slab)
    beside = _transfers(machine, sizes.second) + _transfers(machine, sizes.further)
    store = _transfers(machine, sizes.store)

    def of_layer(each: Counts, times: Counts) -> Counts:
        total: Counts = (each * times).sum(tuple(range(times.ndim - 1))) * c.repeats
        return total

    loads = of_layer(slab, slab_times) + of_layer(beside, square) + of_layer(weights, weight_times)
    computes, posts, stores = of_layer(array, square) * depths, of_layer(post, square), of_layer(store, store_times)
    place = np.arange(lines.size)
    last = ((rest > 0).astype(np.int64), (n_rest > 0).astype(np.int64), place)
    last_array, last_post, pending = array[last], post[last], store[last]
    first = slab[0, 0] + np.where(keeps, beside[0, 0], 0)
    later = loads - weights[0] - first
    loads_last = ((slab[0, 0] > 0) & ~keeps_slab) | ((weights[0] > 0) & (~keeps_weights | (positions == 1)))
    before = np.where(loads_last, np.maximum(0, stores - 2 * store[0, 0]), 0)
    # The last post waits for the last store but two, and that for all moves since the first post but three loads.
    moved = np.where(keeps, np.maximum(0, later - 2 * (weights[0] + first)), 0)
    moved += np.maximum(0, stores - 2 * store[0, 0])
    stored = np.where(positions * channel_tiles > 2, post[0, 0] + moved + last_post, 0)
    after_start = np.maximum(computes + last_post, array[0, 0] + np.maximum(posts, stored))
    after_loads = later + before + last_array + last_post
    done = np.maximum(machine.launch_cycles + after_start, np.where(first > 0, first + after_loads, 0))
    order = np.lexsort((done, c.layer))
    # Found only after `done`, so that it breaks no ties between candidates of equal bounds.
    often = np.where(keeps_weights & (positions > 1), (n_whole - 1) * c.repeats, 0)
    idle_array, idle_vector = _idle(c, often, weights[0] + slab[0, 0] + beside[0, 0], array, post, store, last[0])
    after_start = np.maximum(computes + idle_array + last_post, array[0, 0] + np.maximum(posts + idle_vector, stored))
    bounds = np.stack([done, place, weights[0], first, after_start, after_loads, later + stores - pending, pending])
    read = of_layer(sizes.slab, slab_times) + of_layer(sizes.second + sizes.further, square)
    read += of_layer(weight_bytes, weight_times)
    details = np.vstack(
        [
            *(c.tile_rows, c.tile_columns, c.tile_channels, c.tile_depth, c.rows_outer),
            *(lines, whole, rest > 0, n_whole, n_rest > 0, depths, keeps_slab, weights),
            *(table.reshape(4, place.size) for table in (slab, beside, array, post, store)),
            *(buffers, loads, computes, posts, stores),
            *(read, of_layer(sizes.store, store_times), of_layer(operands, square) * depths),
            computes - of_layer(unfed, square) * depths,
        ]
    )
    return bounds.T[order], details.T, c.layer[order]


def _positions(c: Columns) -> tuple[tuple[Counts, Counts], tuple[Counts, Counts, Counts]]:
    """Rows and columns of whole and edge positions; lines of positions, whole ones in a line, and what is left there.

    Where tiles are parts of a row each row is a line; otherwise all rows are one line of tiles.
    """
    split = c.tile_columns < c.columns
    extent, size = np.where(split, c.columns, c.rows), np.where(split, c.tile_columns, c.tile_rows)
    lines, whole, rest = np.where(split, c.rows, 1), extent // size, extent % size
    edge = np.where(rest > 0, rest, size)
    rows = np.stack([c.tile_rows, np.where(split, 1, edge)])[:, None]
    columns = np.stack([c.tile_columns, np.where(split, edge, c.tile_columns)])[:, None]
    return (rows, columns), (lines, whole, rest)


def _idle(
    c: Columns, often: Counts, load: Counts, array: Counts, post: Counts, store: Counts, edge: Counts
) -> tuple[Counts, Counts]:
    """Cycles for which array and vector unit at least wait for the first `load` of every further tile of channels.

    That load waits for the compute of the tile before the last, and where that stores, for its post and store: the DMA
    works in order. From there to the compute (the post) of what is loaded, the array (the vector unit) has nothing to
    do beside the tile between them, the last of its channels.
    """
    last = edge, 0, np.arange(load.size)
    stored = np.where(c.reads_whole > 0, 0, store[0, 0])
    held = (c.kind == KINDS.index("vector")) | (c.streams_second > 0) | (c.streams_further > 0)
    waits = held | (stored > 0)
    often = np.where(load > 0, often, 0)
    array_cycles = np.where(waits, post[0, 0], 0) + stored + load - array[last]
    vector_cycles = stored + load + array[0, 0] - post[last]
    posts = waits & (post[0, 0] > 0)
    return np.maximum(0, array_cycles) * often, np.where(posts, np.maximum(0, vector_cycles) * often, 0)


def _work_by_kind(machine: Machine, numbers: Counts, m: Counts, n: Counts) -> tuple[Counts, ...]:
    """`_work` of candidates that are sorted by kind."""
    edges = np.searchsorted(numbers[Columns._fields.index("kind")], range(len(KINDS) + 1)).tolist()
    parts = [
        _work(machine, kind, Columns(*numbers[:, start:stop]), m[..., start:stop], n[..., start:stop])
        for kind, (start, stop) in zip(KINDS, pairwise(edges), strict=True)
        if start < stop or not edges[-1]  # arrays of nothing where nothing fits
    ]
    return tuple(np.concatenate(of_parts, axis=-1) for of_parts in zip(*parts, strict=True))


def _work(machine: Machine, kind: str, c: Columns, m: Counts, n: Counts) -> tuple[Counts, ...]:
    """Bytes of operands, windows unrolled, and cycles of the array (always fed; as the SRAM feeds it) and of the vector
    unit for each tile (and depth)."""
    outputs = m * n
    post = _rated(outputs * c.passes, machine.lanes)
    if kind == "vector":
        moved = outputs * (1 + (c.second_channels > 0) + (1 - c.reads_whole))
        none = np.zeros_like(outputs)
        return outputs * c.taps, none, none, np.maximum(post, _rated(moved, machine.sram_bytes_per_cycle))
    post = post + _rated(outputs, machine.output_lanes)
    if kind == "depthwise":
        operands = outputs * c.taps + n * c.taps
        array = depthwise_cycles(machine.array, m, c.taps, n)
        if machine.array.depthwise == "vector":
            return operands, array, array, post + _rated(outputs * c.taps, machine.lanes)
    else:
        operands = product_operand_bytes(machine.array, m, c.taps * c.tile_depth, n)
        array = product_cycles(machine.array, m, c.taps * c.tile_depth, n)
    return operands, array, np.maximum(array, _rated(operands, machine.sram_bytes_per_cycle)), post


def tile_work(machine: Machine, view: LayerView, m: Counts) -> tuple[Counts, ...]:
    """Bytes of operands and cycles (array always fed, array, vector unit) of m positions of all channels."""
    numbers = (
        0,
        view.rows,
        view.columns,
        view.channels,
        view.depth,
        0,
        *numbers_of(view, Streams(False, False, False, False, 0)),
    )
    c = Columns(*(np.array(number, np.int64) for number in numbers))
    return _work(machine, view.job.kind, c, m, np.full_like(m, view.channels))


def _rated(work: Counts, rate: int | None) -> Counts:
    """Cycles for so much work at a rate; none where the rate is not limited."""
    return np.zeros_like(work) if rate is None else ceil_div(work, rate)


def _transfers(machine: Machine, size: Counts) -> Counts:
    """Cycles of one transfer of so many bytes between DRAM and SRAM; none where nothing waits for DRAM."""
    if machine.dram_bytes_per_s is None:
        return np.zeros_like(size)
    cycles = machine.dram_latency_cycles + ceil_div(size * machine.clock_hz, machine.dram_bytes_per_s)
    return np.where(size > 0, cycles, 0)
