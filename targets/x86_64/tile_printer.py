"""The loops of a product on tiles; see tile_gemm."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mnv3c.targets.cpu.builder import LINE_FLOATS, Buffer, Expr, KernelBuilder
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.lanes import Lanes

TILE = 16  # rows of a tile; columns of a tile of sums
STEP = 32  # of the depth
PARTS = 3
TILE_FLOATS = 256
STEP_FLOATS = PARTS * TILE_FLOATS
ROW_BYTES = 64
# (part of the rows, part of the weights), the smallest products first; None where a part is in its tiles already.
PRODUCTS = ((0, 2), (None, 1), (None, 0), (1, None), (None, 1), (2, 0))
# Tiles 0 to 3 are sums, row by row of a block of 2 x 2; then two of rows and two of weights.
_LEFT, _RIGHT = 4, 6


@dataclass(frozen=True)
class TileShape:
    """rows x depth times depth x columns, in tiles."""

    rows: int
    depth: int
    columns: int

    @property
    def steps(self) -> int:
        """Steps of the depth."""
        return -(-self.depth // STEP)

    @property
    def column_tiles(self) -> int:
        """Tiles of columns."""
        return -(-self.columns // TILE)

    @property
    def pairs(self) -> int:
        """Panels of two tiles of columns; one tile is left over where their number is odd."""
        return self.column_tiles // 2

    @property
    def row_tiles(self) -> int:
        """Tiles of rows."""
        return -(-self.rows // TILE)

    @property
    def blocks(self) -> int:
        """Blocks of two tiles of rows.

        Where their number is odd, the first block has one tile when threads share the rows: the first share is never
        smaller than the others. When they share the columns, the last block's second tile is computed in vain.
        """
        return -(-self.row_tiles // 2)

    @property
    def tile_floats(self) -> int:
        """Size of the parts of a tile of rows, or of columns, all of the depth."""
        return self.steps * STEP_FLOATS


@dataclass(frozen=True)
class _Item:
    """Up to four tiles of sums: a block of rows, from tile `first` on, times a panel of columns.

    `height` and `width` count tiles; `parts` is where the rows' parts lie.
    """

    block: Expr
    first: Expr
    parts: Expr
    panel: Expr
    height: int
    width: int

    @property
    def sums(self) -> tuple[tuple[int, int], ...]:
        """Row and column of each tile of sums."""
        return tuple((i, j) for i in range(self.height) for j in range(self.width))


@dataclass(frozen=True)
class _Lines:
    """Cache lines to be asked for: `count` with every step, from float `first` of the weights on."""

    count: int
    first: Expr


@dataclass(frozen=True)
class TilePrinter:
    """Prints one kernel. `parts` is memory for the split rows, `sums` for the sums of an item, one for each thread."""

    k: KernelBuilder
    shape: TileShape
    lanes: Lanes
    epilogue: Epilogue
    behind_lines: int
    input: Buffer
    gate: Buffer | None
    residual: Buffer | None
    weight: Buffer
    bias: Buffer
    setup: Buffer
    parts: Buffer
    output: Buffer
    sums: Buffer = None

    def share_columns(self, chunk: int, work: int) -> None:
        """Split all rows, then all blocks of rows times `chunk` panels at a time."""
        k, shape = self.k, self.shape
        with k.parallel(2 * shape.blocks, work) as tile:
            self._split_tile(tile, tile * shape.tile_floats)
        shares = -(-shape.pairs // chunk)
        with k.parallel(shares + shape.column_tiles % 2, work) as share, self._thread() as own:
            if shape.column_tiles % 2 == 0:
                own._panels(share * chunk, chunk)
            else:
                k.choose(share < shares, lambda: own._panels(share * chunk, chunk), own._narrow_panel)

    def share_rows(self, chunk: int, work: int) -> None:
        """`chunk` blocks of rows at a time, each split and then times all panels."""
        k, shape = self.k, self.shape
        with k.parallel(-(-shape.blocks // chunk), work) as share, self._thread() as own:
            first, parts = share * chunk, share * (2 * shape.tile_floats)
            with k.serial(k.minimum(chunk, shape.blocks - first)) as number:
                block = first + number
                if shape.row_tiles % 2 == 0:
                    own._block(block, 2 * block, parts, 2)
                else:
                    k.choose(
                        block > 0,
                        lambda: own._block(block, 2 * block - 1, parts, 2),
                        lambda: own._block(block, block, parts, 1),
                    )

    @contextmanager
    def _thread(self) -> Iterator["TilePrinter"]:
        """What one thread does: with sums of its own, between setting up its tiles and giving them back.

        While tiles are in use a switch of threads saves 8 KiB.
        """
        self.k.intrinsic("llvm.x86.ldtilecfg", self.k.address(self.setup, 0))
        yield replace(self, sums=self.k.scratch(4 * TILE_FLOATS))
        self.k.intrinsic("llvm.x86.tilerelease")

    def _row(self, tile: Expr) -> Expr:
        """First row of a tile. The last ones move up to stay inside."""
        return self.k.minimum(tile * TILE, self.shape.rows - TILE)

    def _split_tile(self, tile: Expr, target: Expr) -> None:
        """Split the rows of a tile into their parts, at `target` of the workspace."""
        whole, rest = divmod(self.shape.depth, STEP)
        if whole:
            with self.k.serial(whole) as step:
                self._split_rows(tile, step * STEP, target + step * STEP_FLOATS, STEP)
        if rest:
            self._split_rows(tile, whole * STEP, target + whole * STEP_FLOATS, rest)

    def _split_rows(self, tile: Expr, depth: Expr, target: Expr, count: int) -> None:
        stored = self.lanes.stored(self.shape.depth)
        with self.k.serial(TILE) as r:
            self._split_step((self._row(tile) + r) * stored, depth, target + r * TILE, count)

    def _split_step(self, row: Expr, depth: Expr, target: Expr, count: int) -> None:
        """Split `count` values of a row from `depth` on."""
        k = self.k
        half, high = k.bit_mask(0x8000, TILE), k.bit_mask(0xFFFF0000, TILE)
        rest, kept = [k.local(TILE) for _ in range(2)], [k.local(TILE, "uint32") for _ in range(2)]
        for n in range(2):
            k.set_local(rest[n], self._values(row, depth + n * TILE, count - n * TILE))
        for p in range(PARTS):
            for n in range(2):
                k.set_local(kept[n], k.bit_and(k.bits(rest[n][0], TILE) + half, high))
                if p < PARTS - 1:
                    k.set_local(rest[n], rest[n][0] - k.reinterpret_float(kept[n][0], TILE))
            pair = k.bit_or(k.shift_right(kept[0][0], k.bit_mask(16, TILE)), kept[1][0])
            k.store(self.parts, target + p * TILE_FLOATS, k.reinterpret_float(pair, TILE), TILE)

    def _values(self, row: Expr, depth: Expr, count: int) -> Expr:
        """A vector of the row, scaled by the gate; beyond `count` values it is zero, whatever lies there."""
        k = self.k
        if count <= 0:
            return k.splat(0.0, TILE)
        value = k.load(self.input, row + depth, TILE)
        if self.gate is not None:
            value = value * k.load(self.gate, depth, TILE)
        if count >= TILE:
            return value
        mask = k.bits(k.load(self.setup, LINE_FLOATS, TILE), TILE)
        return k.reinterpret_float(k.bit_and(k.bits(value, TILE), mask), TILE)

    def _panels(self, first: Expr, chunk: int) -> None:
        """All blocks of rows times a share of the panels."""
        shape, k = self.shape, self.k

        def item(number: Expr) -> _Item:
            panel = first + k.quotient(number, shape.blocks)
            return self._shared_item(k.modulo(number, shape.blocks), panel, 2)

        self._pipeline(item, shape.blocks * k.minimum(chunk, shape.pairs - first))

    def _narrow_panel(self) -> None:
        """All blocks of rows times the last panel, of one tile."""
        with self.k.serial(self.shape.blocks) as block:
            item = self._shared_item(block, self.shape.pairs, 1)
            self._sum(item, None, ())
            self._finish(item)

    def _shared_item(self, block: Expr, panel: Expr, width: int) -> _Item:
        """An item where all rows are split beforehand."""
        return _Item(block, 2 * block, 2 * block * self.shape.tile_floats, panel, 2, width)

    def _block(self, block: Expr, first: Expr, parts: Expr, height: int) -> None:
        """Split a block of rows, times all panels."""
        shape = self.shape
        with self.k.serial(height) as i:
            self._split_tile(first + i, parts + i * shape.tile_floats)
        self._pipeline(lambda number: _Item(block, first, parts, number, height, 2), shape.pairs)
        if shape.column_tiles % 2:
            last = _Item(block, first, parts, shape.pairs, height, 1)
            self._sum(last, None, ())
            self._finish(last)

    def _pipeline(self, item: Callable[[Expr], _Item], count: Expr) -> None:
        """Each item is finished while the next one is summed."""
        self._sum(item(0), None, self._wanted(item(0)))
        with self.k.serial(count - 1) as number:
            following = item(number + 1)
            self._sum(following, item(number), self._wanted(following))
        self._finish(item(count - 1))

    def _wanted(self, item: _Item) -> tuple[_Lines, ...]:
        """What to ask for while an item is summed: its part of the next panel, and of what lies behind the weights."""
        shape = self.shape
        panel = 2 * shape.tile_floats
        own = -(-PARTS * 2 * TILE // shape.blocks)
        behind = (item.panel * shape.blocks + item.block) * (shape.steps * self.behind_lines * LINE_FLOATS)
        return (
            _Lines(own, (item.panel + 1) * panel + item.block * (shape.steps * own * LINE_FLOATS)),
            _Lines(self.behind_lines, shape.column_tiles * shape.tile_floats + behind),
        )

    def _sum(self, item: _Item, before: _Item | None, wanted: tuple[_Lines, ...]) -> None:
        """Sum an item in tiles and store the sums; meanwhile finish the item before and ask for what is wanted."""
        k = self.k
        for i, j in item.sums:
            k.intrinsic("llvm.x86.tilezero", k.integer(2 * i + j, 8))
        with k.serial(self.shape.steps) as step:
            for number in range(len(PRODUCTS)):
                self._multiply(item, step, number)
                for lines in wanted:
                    for line in _share(lines.count, number):
                        k.prefetch(self.weight, lines.first + (step * lines.count + line) * LINE_FLOATS)
                if before is not None:
                    self._finish_some(before, step, number)
        row_floats = item.width * TILE
        for i, j in item.sums:
            at = k.address(self.sums, i * TILE * row_floats + j * TILE)
            k.intrinsic("llvm.x86.tilestored64", k.integer(2 * i + j, 8), at, k.integer(4 * row_floats, 64))

    def _multiply(self, item: _Item, step: Expr, number: int) -> None:
        """One product of parts for all tiles of sums."""
        k, (left, right) = self.k, PRODUCTS[number]
        if left is not None:
            for i in range(item.height):
                at = item.parts + (i * self.shape.steps + step) * STEP_FLOATS + left * TILE_FLOATS
                self._load(_LEFT + i, self.parts, at)
        if right is not None:
            panel = item.panel * (2 * self.shape.tile_floats)
            for j in range(item.width):
                at = panel + ((step * PARTS + right) * item.width + j) * TILE_FLOATS
                self._load(_RIGHT + j, self.weight, at)
        for i, j in item.sums:
            operands = (2 * i + j, _LEFT + i, _RIGHT + j)
            k.intrinsic("llvm.x86.tdpbf16ps", *(k.integer(operand, 8) for operand in operands))

    def _load(self, tile: int, buffer: Buffer, at: Expr) -> None:
        k = self.k
        k.intrinsic("llvm.x86.tileloadd64", k.integer(tile, 8), k.address(buffer, at), k.integer(ROW_BYTES, 64))

    def _finish(self, item: _Item) -> None:
        with self.k.serial(item.height * TILE) as row:
            self._finish_row(item, row)

    def _finish_some(self, item: _Item, step: Expr, number: int) -> None:
        """The rows whose turn it is; the last one again where the steps have more turns than there are rows."""
        rows = item.height * TILE
        turn = -(-rows // self.shape.steps)
        for row in _share(turn, number):
            self._finish_row(item, self.k.minimum(step * turn + row, rows - 1))

    def _finish_row(self, item: _Item, row: Expr) -> None:
        """Bias, residual and activation of one of the item's rows."""
        k = self.k
        stored = self.lanes.stored(self.shape.columns)
        first = self._row(item.first + k.quotient(row, TILE))
        for j in range(item.width):
            value = k.load(self.sums, row * (item.width * TILE) + j * TILE, TILE)
            column = (2 * item.panel + j) * TILE
            value = value + k.load(self.bias, column, TILE)
            at = (first + k.modulo(row, TILE)) * stored + column
            k.store(self.output, at, self.epilogue.apply(k, value, TILE, self.residual, at), TILE)


def _share(count: int, number: int) -> range:
    """The `number`-th share of `count` things, as many shares as there are products."""
    return range(count * number // len(PRODUCTS), count * (number + 1) // len(PRODUCTS))
