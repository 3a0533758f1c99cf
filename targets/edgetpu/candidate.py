"""A candidate tiling as numbers: what the timeline runs, and the bounds that spare it most runs."""

from typing import NamedTuple

from mnv3c.targets.edgetpu.array_cycles import Counts
from mnv3c.targets.edgetpu.tiling import TileRow


class Work(NamedTuple):
    """Sums over a layer under one tiling.

    `sram_wait_cycles` is the part of `array_cycles` in which the SRAM could not feed the array.
    """

    depths: int
    buffer_bytes: int
    load_cycles: int
    array_cycles: int
    post_cycles: int
    store_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int
    operand_bytes: int
    sram_wait_cycles: int


class Candidate(NamedTuple):
    """A tiling of a layer, with its times in cycles.

    `lines` x (`whole` and `edge` positions, the latter 0 or 1) by `whole_channels` and `edge_channels` are the tiles,
    each in `depths` steps. Cycles of the four extents of tiles are those of whole positions, with whole and with edge
    channels, then those of edge positions: `slab` is the first input's load, `beside` the further ones'. `keeps_slab`
    says that the slab is loaded for the first tile of channels alone. The rest are sums over the layer, as in `Work`.
    """

    rows: int
    columns: int
    tile_channels: int
    tile_depth: int
    rows_outer: int
    lines: int
    whole: int
    edge: int
    whole_channels: int
    edge_channels: int
    depths: int
    keeps_slab: int
    weights: int
    weights_of_edge: int
    slab: int
    slab_1: int
    slab_2: int
    slab_3: int
    beside: int
    beside_1: int
    beside_2: int
    beside_3: int
    array: int
    array_1: int
    array_2: int
    array_3: int
    post: int
    post_1: int
    post_2: int
    post_3: int
    store: int
    store_1: int
    store_2: int
    store_3: int
    buffer_bytes: int
    load_cycles: int
    array_cycles: int
    post_cycles: int
    store_cycles: int
    dram_read_bytes: int
    dram_write_bytes: int
    operand_bytes: int
    sram_wait_cycles: int

    @property
    def tile(self) -> TileRow:
        """The tiling as numbers."""
        return self.rows, self.columns, self.tile_channels, self.tile_depth, self.rows_outer

    def cycles(self, edge: int, place: int) -> tuple[int, int, int, int, int, int]:
        """Weights, slab, beside, array, post and store of a tile of whole or edge (1) positions and channels."""
        at = _SLAB + 2 * edge + place
        return self[_WEIGHTS + place], self[at], self[at + 4], self[at + 8], self[at + 12], self[at + 16]

    def work(self) -> Work:
        """The sums."""
        return Work(self.depths, *self[_SUMS:])


_WEIGHTS, _SLAB = Candidate._fields.index("weights"), Candidate._fields.index("slab")
_SUMS = Candidate._fields.index("buffer_bytes")


class Bound(NamedTuple):
    """What no run of a candidate can undercut, in cycles.

    It is not done before `done` after the layer before. The first tile loads `weights` and then `activations`. After
    its compute could start the layer goes on for at least `after_start`, and after the DMA has brought them, for
    `after_loads`; the DMA itself has `moves` more to do, and a last store, `pending`, for later.
    """

    done: int
    place: int
    weights: int
    activations: int
    after_start: int
    after_loads: int
    moves: int
    pending: int


class LayerCandidates(NamedTuple):
    """The candidates of a layer that fit, in order of their bounds; and what the smallest of all of them needs.

    `most_weights` is the longest that any of them first loads weights, in cycles.
    """

    bounds: Counts
    details: Counts
    most_weights: int
    least_buffer_bytes: int
    least_accumulator_bytes: int

    def candidate(self, place: int) -> Candidate:
        """The candidate of a bound."""
        return Candidate._make(self.details[place].tolist())
