"""How our compiler cuts a layer for a CPU: which unit multiplies, register tiles, vectors, lines.

What `targets.cpu` and `targets.x86_64` decide for one layer by their first guess, for all layers of a table at once and
from its columns alone. Where a tuner's record chose another kernel the two differ.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mnv3c.profiles.layer_table import KINDS, Integers, LayerTable
from mnv3c.profiles.physics.base import Floats

Mask = npt.NDArray[np.bool_]
# `targets.x86_64.tile_printer`: tiles of 16 x 16 sums, 32 of the depth a step, six products of three parts.
TILE, STEP, PARTS, PRODUCTS = 16, 32, 3, 6
LINE_BYTES = 64
# `targets.x86_64.tile_families`: below so many rows, columns and depth tiles are mostly empty; cycles of its estimate.
_LEAST_ROWS, _LEAST_COLUMNS, _LEAST_DEPTH = 33, 32, 33
_PRODUCT_SHARE, _SPLIT_CYCLES, _BLOCK_CYCLES = 1.35, 15.0, 150.0
# `targets.cpu.gemm`: tiles of 1 to 28 rows by 1 to 6 vectors; a panel beyond this share of the first-level cache.
_MOST_TILE_ROWS, _MOST_TILE_VECTORS = 28, 6
_PANEL_SHARE, _MISS_CYCLES = 0.7, 0.5
_NARROWEST = 4
# `targets.cpu.builder`: loops of less work are not shared out; a value that is only moved counts as so many products.
_WORTH_SHARING, _MOVE = 1 << 17, 4
# `targets.cpu.fusion`: a chunk of a fused group has at least so many rows.
_CHUNK_ROWS = 4
_WEIGHTED = tuple(
    KINDS.index(name) for name in ("pointwise", "depthwise", "linear", "conv", "grouped_conv", "transposed_conv")
)


@dataclass(frozen=True)
class CpuSizes:
    """What of a CPU the compiler looks at; lanes are floats of the widest vector, 0 tile products mean no tile unit."""

    lanes: int
    registers: int
    fma_pipes: int
    fma_latency_cycles: int
    tile_bf16_macs: int
    l1d_bytes: int
    l2_bytes: int
    sharing_cores: int
    threads: int


@dataclass(frozen=True)
class RegisterTiles:
    """(layers,) of products on the vector unit: cycles for each step of the depth, and the number of tiles."""

    cycles: Floats
    tiles: Floats


@dataclass(frozen=True)
class Kernels:
    """The layers of a table as kernels. A layer whose input or output stays on chip is part of a group's kernel."""

    table: LayerTable
    sizes: CpuSizes

    def kind(self, name: str) -> Mask:
        """Layers of one kind."""
        return np.asarray(self.table.kind == KINDS.index(name), np.bool_)

    @cached_property
    def pointwise(self) -> Mask:
        """1x1 convolutions of maps."""
        return self.kind("pointwise")

    @cached_property
    def gated(self) -> Mask:
        """Projections that scale what they read by a gate."""
        before = np.where(self.table.input_on_chip == 1, np.roll(self.table.kind, 1), -1)
        return np.asarray(self.pointwise & (before == KINDS.index("gate")), np.bool_)

    @cached_property
    def by_rows(self) -> Mask:
        """Products of a group that goes row by row."""
        inside = (self.table.output_on_chip == 1) | (self.table.input_on_chip == 1)
        return np.asarray(self.pointwise & inside & ~self.gated, np.bool_)

    @cached_property
    def on_tiles(self) -> Mask:
        """Products on the tile unit: it has to have one, and be expected to be faster there."""
        table, rows = self.table, self.rows
        if not self.sizes.tile_bf16_macs or self.sizes.lanes != TILE:
            return np.zeros(len(table), np.bool_)
        large = (rows >= _LEAST_ROWS) & (table.c_out >= _LEAST_COLUMNS) & (table.c_in >= _LEAST_DEPTH)
        items = self.row_tiles * self.column_tiles * self.steps
        products = items * PRODUCTS * (TILE * TILE * STEP / self.sizes.tile_bf16_macs)
        split = self.row_tiles * TILE * self.steps * _SPLIT_CYCLES
        cycles = _PRODUCT_SHARE * products + split + self.row_blocks * _BLOCK_CYCLES
        faster = cycles < self.vector.cycles * table.c_in
        return np.asarray(self.pointwise & ~self.by_rows & large & faster, np.bool_)

    @cached_property
    def shared(self) -> Mask:
        """Where the threads share the kernel's loop."""
        table = self.table
        moved = table.is_kind("global_pool", "elementwise", "gate")
        work = np.where(moved, _MOVE * table.h_in * table.w_in * table.c_in, table.macs)
        fused = (table.input_on_chip == 1) | (table.output_on_chip == 1)
        return np.asarray((self.sizes.threads > 1) & ((work >= _WORTH_SHARING) | (fused & ~self.pointwise)), np.bool_)

    @cached_property
    def share(self) -> Floats:
        """(layers,) of the kernel's work, the part of the thread that has most."""
        table, threads = self.table, self.sizes.threads
        pairs, blocks = np.maximum(self.column_tiles // 2, 1), self.row_blocks
        by_rows = self.computed_row_tiles == self.row_tiles
        tasks = np.select(
            [self.on_tiles & by_rows, self.on_tiles, self.kind("linear"), self.pointwise],
            [blocks, pairs, self.vector.tiles, np.full(len(table), threads)],
            table.h_out,
        )
        fused = (table.input_on_chip == 1) | (table.output_on_chip == 1)
        tasks = np.where(self.kind("global_pool") | fused, threads, tasks)
        most = np.ceil(tasks / threads) / np.maximum(tasks, 1)
        alone = fused & ~self.gated & (table.h_out < _CHUNK_ROWS * threads)
        return np.asarray(np.where(self.shared & ~alone, most, 1.0), np.float64)

    @cached_property
    def rows(self) -> Integers:
        """Rows of the product: positions of the output."""
        return self.table.h_out * self.table.w_out

    @cached_property
    def row_tiles(self) -> Integers:
        """Tiles of rows."""
        return -(-self.rows // TILE)

    @cached_property
    def row_blocks(self) -> Integers:
        """Blocks of two tiles of rows."""
        return -(-self.row_tiles // 2)

    @cached_property
    def column_tiles(self) -> Integers:
        """Tiles of columns."""
        return -(-self.table.c_out // TILE)

    @cached_property
    def steps(self) -> Integers:
        """Steps of the depth on tiles."""
        return -(-self.table.c_in // STEP)

    @cached_property
    def computed_row_tiles(self) -> Integers:
        """Tiles of rows that are computed: an even number where threads share the columns."""
        cores, pairs = self.sizes.sharing_cores, np.maximum(self.table.c_out // (2 * TILE), 1)
        by_rows, by_columns = -(-self.row_blocks // cores), -(-pairs // cores)
        rows_first = (self.row_blocks >= 2 * cores) | (by_rows / self.row_blocks < by_columns / pairs)
        return np.where(rows_first, self.row_tiles, 2 * self.row_blocks)

    @cached_property
    def vectors_out(self) -> Integers:
        """Vectors that cover the output's channels: widest first, then narrower powers of two."""
        return self._vectors(self.table.c_out)

    @cached_property
    def stored_lines(self) -> Floats:
        """Cache lines from one position of the input to the next; half a line where channels are few."""
        channels, lanes = self.table.c_in, self.sizes.lanes
        floats = np.where(channels >= lanes, -(-channels // lanes) * lanes, 2.0 ** np.ceil(np.log2(channels)))
        return np.asarray(np.maximum(floats, _NARROWEST) * 4 / LINE_BYTES, np.float64)

    @cached_property
    def vector(self) -> RegisterTiles:
        """The cheapest register tile of each product, as `targets.cpu.gemm.register_tiles` estimates it."""
        table = self.table
        products = np.flatnonzero(self.pointwise | self.kind("linear"))
        rows = np.where(self.by_rows, table.w_in, self.rows)[products]
        # Networks repeat their shapes, and each shape is tried with some sixty tiles.
        shapes = rows << 40 | table.c_in[products] << 20 | table.c_out[products]
        _, first, number = np.unique(shapes, return_index=True, return_inverse=True)
        chosen = products[first]
        covered = self._covered(table.c_out[chosen])
        found = _register_tiles(rows[first], table.c_in[chosen], self.vectors_out[chosen], covered, self.sizes)
        cycles, tiles = np.zeros(len(table)), np.zeros(len(table))
        cycles[products], tiles[products] = found.cycles[number], found.tiles[number]
        return RegisterTiles(cycles, tiles)

    @cached_property
    def weight_lines(self) -> Floats:
        """Cache lines of packed weights and biases; tiles keep them in three parts."""
        table = self.table
        taps = table.kernel_h * table.kernel_w * (table.c_in // table.groups) + 1
        plain = taps * self._covered(table.c_out) * 4
        parts = self.column_tiles * self.steps * (PARTS * TILE * TILE * 4)
        weighted = np.isin(table.kind, _WEIGHTED)
        return np.asarray(np.where(self.on_tiles, parts, plain) * weighted / LINE_BYTES, np.float64)

    @cached_property
    def taps_inside(self) -> tuple[Floats, Floats]:
        """Taps that read real inputs, over all outputs along the height and along the width."""
        table = self.table
        return (
            _taps_inside(table.h_in, table.h_out, table.kernel_h, table.stride),
            _taps_inside(table.w_in, table.w_out, table.kernel_w, table.stride_w),
        )

    def _covered(self, channels: Integers) -> Integers:
        return -(-channels // _NARROWEST) * _NARROWEST

    def _vectors(self, channels: Integers) -> Integers:
        whole, rest = np.divmod(self._covered(channels), self.sizes.lanes)
        # A rest of 12 floats of 16 takes vectors of 8 and 4: one for each bit.
        bits = np.unpackbits((rest // _NARROWEST).astype(np.uint8)[:, None], axis=1).sum(1, dtype=np.int64)
        return np.asarray(whole + bits, np.int64)


def _register_tiles(
    rows: Integers, depth: Integers, vectors: Integers, covered: Integers, sizes: CpuSizes
) -> RegisterTiles:
    options = [
        (height, width)
        for width in range(1, _MOST_TILE_VECTORS + 1)
        for height in range(1, _MOST_TILE_ROWS + 1)
        if height * width + width + 1 <= sizes.registers
    ]
    height, width = (np.array(column)[:, None] for column in zip(*options, strict=True))
    blocks, tiles = -(-vectors // width), -(-rows // height)
    least, larger = np.divmod(vectors, blocks)

    def step(count: Integers, channels: Integers) -> Floats:
        fma, loads = height * count / sizes.fma_pipes, (height + count) / 2
        far = (tiles > 1) & (4 * channels * depth > _PANEL_SHARE * sizes.l1d_bytes)
        cycles = np.maximum(np.maximum(fma + 0.25 * loads, loads), sizes.fma_latency_cycles)
        return np.asarray(cycles + far * (_MISS_CYCLES * channels * 4 / LINE_BYTES), np.float64)

    # The last block ends with the narrow vectors; the larger blocks come first.
    whole = sizes.lanes * (larger * (least + 1) + (blocks - larger - 1) * least)
    cost = larger * step(least + 1, sizes.lanes * (least + 1)) + step(least, covered - whole)
    cost = tiles * (cost + (blocks - larger - 1) * step(least, sizes.lanes * least))
    unfit = ((width > 1) & (width * sizes.lanes >= 2 * covered)) | (height > np.minimum(rows, _MOST_TILE_ROWS))
    cost = np.where(unfit, np.inf, cost)
    best, layer = cost.argmin(0), np.arange(len(rows))
    return RegisterTiles(cost[best, layer], np.asarray((tiles * blocks)[best, layer], np.float64))


def _taps_inside(size: Integers, count: Integers, kernel: Integers, stride: Integers) -> Floats:
    """Padding is SAME, which gives the odd pixel to the end."""
    before = np.maximum((count - 1) * stride + kernel - size, 0) // 2
    total = np.zeros(len(size))
    for tap in range(int(kernel.max(initial=1))):
        first = np.maximum(-(-(before - tap) // stride), 0)
        last = np.minimum((size - 1 + before - tap) // stride, count - 1)
        total += np.where(tap < kernel, np.maximum(last - first + 1, 0), 0)
    return np.asarray(total, np.float64)
