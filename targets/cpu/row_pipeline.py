"""Layers fused by rows: expand (or the stem) -> depthwise -> project, so that the widest tensor never leaves the cache.

The first layer's rows go into a ring that holds as many as a depthwise window is high. As soon as the ring holds a
window, the depthwise layer computes one row of outputs, and the projection, where it is part of the group, turns that
row into one row of the group's output. Nothing is computed twice, except a few rows where two chunks of rows meet.

    for chunk of output rows (shared out among threads; each has a ring of its own)
      for row of the first layer that the chunk needs
        compute it into the ring
        if it completes a window: depthwise row -> project row -> output

Rows of the ring begin and end with columns of zeros, so the depthwise layer has no edges to care for along the width.

Where even the ring is too large for the first-level cache, the outputs are cut into strips of columns, one after the
other; a few columns of the first layer are computed by two strips.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.targets.cpu.builder import Buffer, Expr, KernelBuilder, Parameter
from mnv3c.targets.cpu.depthwise import Window
from mnv3c.targets.cpu.direct import Direct
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.gemm import Product
from mnv3c.targets.cpu.kernel import CpuKernel, Operands, Put, for_blocks, for_vectors, part
from mnv3c.targets.cpu.lanes import Lanes, Piece
from mnv3c.targets.cpu.packing import pack_layer
from mnv3c.targets.cpu.window import Axis, ColumnTile, for_column_tiles
from mnv3c.targets.target import Array


@dataclass(frozen=True)
class PointwiseStage:
    """A 1x1 convolution, computed one row of `width` positions at a time."""

    width: int
    depth: int
    columns: int
    epilogue: Epilogue
    lanes: Lanes
    tile_rows: int
    tile_vectors: int

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """Columns in blocks, and the bias."""
        return pack_layer(weights, self.depth, self.columns, self.tile_vectors, self.lanes)

    def buffers(self, name: str) -> tuple[Parameter, ...]:
        """Weight and bias."""
        covered = self.lanes.covered(self.columns)
        return Parameter(f"{name}_weight", self.depth * covered), Parameter(f"{name}_bias", covered)

    def row(self, k: KernelBuilder, operands: Operands, at: Callable[[Expr], Expr], put: Put) -> None:
        """Print the computation of a row whose position x begins at `at(x)` of the input."""
        product = Product(self.width, self.depth, self.tile_rows)

        def panel(column: Expr, pieces: Sequence[Piece]) -> None:
            with k.serial(product.tiles) as t:
                start = product.tile_start(k, t)
                sums = product.tile(k, operands, column, pieces, lambda r, d: at(start + r) + d)
                for r in range(product.tile_rows):
                    for p, piece in enumerate(pieces):
                        put(start + r, column + piece.offset, piece.lanes, sums.get(r, p))

        for_blocks(k, self.lanes.blocks(self.columns, self.tile_vectors), panel)


@dataclass(frozen=True)
class RowPipeline(CpuKernel):
    """One fused group. `head` is the first layer, `vertical` and `horizontal` are the depthwise layer's axes.

    The outputs are cut into `chunks` of rows and `strips` of columns; only a 1x1 head may have more than one strip.
    The projection adds nothing, the group's input, or with `residual_from_head` the first layer's output.
    """

    family: ClassVar[str] = "row_pipeline"
    head: PointwiseStage | Direct
    vertical: Axis
    horizontal: Axis
    channels: int
    activation: Epilogue
    project: PointwiseStage | None
    residual_from_head: bool
    lanes: Lanes
    tile_columns: int
    chunks: int
    strips: int = 1

    @property
    def parameters(self) -> Mapping[str, int]:
        """The tiles of each part, and the numbers of chunks and strips."""
        head = self.head
        rows = head.tile_rows if isinstance(head, PointwiseStage) else head.tile_columns
        last = self.project
        return {
            "head_rows": rows,
            "head_vectors": head.tile_vectors,
            "tile_columns": self.tile_columns,
            **({} if last is None else {"project_rows": last.tile_rows, "project_vectors": last.tile_vectors}),
            "chunks": self.chunks,
            "strips": self.strips,
        }

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """The parts' weights in order; `weights` has them under PART.ROLE."""
        taps = self.vertical.taps * self.horizontal.taps
        depthwise = pack_layer(part(weights, 1), taps, self.channels, 1, self.lanes)
        last = () if self.project is None else self.project.pack(part(weights, 2))
        return (*self.head.pack(part(weights, 0)), *depthwise, *last)

    def buffers(self) -> Sequence[Parameter]:
        """Input, weight and bias of each part, workspace, output."""
        covered = self.lanes.covered(self.channels)
        project = self.project
        outputs = self.vertical.count * self.horizontal.count
        out_channels = self.channels if project is None else project.columns
        return (
            *self._head_buffers(),
            Parameter("depthwise_weight", self.vertical.taps * self.horizontal.taps * covered),
            Parameter("depthwise_bias", covered),
            *(() if project is None else project.buffers("project")),
            Parameter("workspace", self.workspace_elements),
            Parameter("output", outputs * self.lanes.stored(out_channels)),
        )

    def _head_buffers(self) -> tuple[Parameter, ...]:
        if isinstance(self.head, Direct):
            given, *parts, _ = self.head.buffers()
            return (given, *parts)
        size = self.vertical.size * self.horizontal.size * self.lanes.stored(self.head.depth)
        return (Parameter("input", size), *self.head.buffers("head"))

    @property
    def workspace_elements(self) -> int:
        """Floats of all chunks' rings and rows."""
        return self.chunks * self._chunk_elements

    @property
    def _chunk_elements(self) -> int:
        row = 0 if self.project is None else self._strip_columns * self.lanes.stored(self.channels)
        return self._ring_rows * self._ring_row_elements + row

    @property
    def _ring_rows(self) -> int:
        return ring_rows(self.vertical)

    @property
    def _strip_columns(self) -> int:
        """Outputs of one strip's row."""
        return -(-self.horizontal.count // self.strips)

    @property
    def _reach(self) -> int:
        """Columns of the first layer that a strip's windows read, padding included."""
        return reach(self.horizontal, self._strip_columns)

    @property
    def _head_columns(self) -> int:
        """Columns of the first layer that a strip computes."""
        return min(self._reach, self.horizontal.size)

    @property
    def _left(self) -> int:
        return -self.horizontal.first

    @property
    def _margin(self) -> int:
        """Columns on both sides of a ring row that a strip at the border writes and nobody reads."""
        return 0 if self.strips == 1 else reach(self.horizontal, 1) - 1

    @property
    def _ring_columns(self) -> int:
        """Columns of a ring row."""
        whole = self._left + self.horizontal.size if self.strips == 1 else 0
        return max(self._reach, whole) + 2 * self._margin

    @property
    def _ring_row_elements(self) -> int:
        return self._ring_columns * self.lanes.stored(self.channels)

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        x, head_weight, head_bias, weight, bias, *projection, workspace, output = buffers
        head = Operands(x, None, head_weight, head_bias, workspace)
        window = Operands(workspace, None, weight, bias, workspace if self.project else output)
        project = Operands(workspace, None, projection[0], projection[1], output) if projection else None
        rows = -(-self.vertical.count // self.chunks)
        work = self.vertical.size * self.horizontal.size * self.channels * self.vertical.taps
        with k.parallel(self.chunks, work) as chunk, k.serial(self.strips) as number:
            strip = self._strip(k, chunk * self._chunk_elements, number)
            self._clear_borders(k, workspace, strip, number)
            first = chunk * rows
            count = rows if self.vertical.count % self.chunks == 0 else k.minimum(rows, self.vertical.count - first)
            top = self.vertical.input(first, 0)
            with k.serial((count - 1) * self.vertical.step + self._ring_rows) as step:
                row = top + step
                with k.when(k.both(row >= 0, row < self.vertical.size)):
                    self._head_row(k, head, strip, row)
                complete = step - (self._ring_rows - 1)
                due = complete >= 0
                if self.vertical.step > 1:
                    due = k.both(due, k.modulo(complete, self.vertical.step) == 0)
                with k.when(due):
                    out_row = first + k.quotient(complete, self.vertical.step)
                    self._window_row(k, window, strip, out_row)
                    if self.project and project:
                        self._project_row(k, self.project, project, head, strip, out_row)

    def _strip(self, k: KernelBuilder, ring: Expr, number: Expr) -> "_Strip":
        """Where a strip works. The last one moves back to stay inside; so do the columns that it computes."""
        if self.strips == 1:
            return _Strip(ring, 0, self.horizontal.first, 0)
        start = k.minimum(number * self._strip_columns, self.horizontal.count - self._strip_columns)
        origin = self.horizontal.input(start, 0)
        head = k.maximum(0, k.minimum(origin, self.horizontal.size - self._head_columns))
        return _Strip(ring, start, origin, head)

    def _clear_borders(self, k: KernelBuilder, workspace: Buffer, strip: "_Strip", number: Expr) -> None:
        last = self.strips - 1
        left = (0, 0, self._left)
        end = self.horizontal.count - self._strip_columns
        right = (last, self.horizontal.size - int(self.horizontal.input(end, 0)), self._ring_columns - 2 * self._margin)
        for where, first, stop in (left, right):
            if stop > first:
                with k.when(number == where):
                    self._clear(k, workspace, strip, first, stop)

    def _clear(self, k: KernelBuilder, workspace: Buffer, strip: "_Strip", first: int, end: int) -> None:
        stored, blocks = self.lanes.stored(self.channels), self.lanes.blocks(self.channels, 1)
        with k.serial(self._ring_rows) as slot, k.serial(end - first) as column:
            at = strip.ring + slot * self._ring_row_elements + (column + first + self._margin) * stored
            for_vectors(
                k,
                blocks,
                lambda channel, piece: k.store(workspace, at + channel, k.splat(0.0, piece.lanes), piece.lanes),
            )

    def _ring_at(self, k: KernelBuilder, strip: "_Strip", row: Expr, column: Expr) -> Expr:
        """Where a position of the first layer's output lies; `column` counts from the strip's origin."""
        slot = k.modulo(row, self._ring_rows)
        return strip.ring + slot * self._ring_row_elements + (column + self._margin) * self.lanes.stored(self.channels)

    def _head_row(self, k: KernelBuilder, operands: Operands, strip: "_Strip", row: Expr) -> None:
        start = self._ring_at(k, strip, row, strip.head - strip.origin)
        stored, epilogue = self.lanes.stored(self.channels), self.head.epilogue

        def put(column: Expr, channel: Expr, lanes: int, value: Expr) -> None:
            at = start + column * stored + channel
            k.store(operands.output, at, epilogue.apply(k, value, lanes), lanes)

        if isinstance(self.head, Direct):
            self.head.row(k, operands, row, put)
        else:
            depth, width = self.lanes.stored(self.head.depth), self.horizontal.size
            self.head.row(k, operands, lambda column: (row * width + strip.head + column) * depth, put)

    def _window_row(self, k: KernelBuilder, operands: Operands, strip: "_Strip", row: Expr) -> None:
        stored, out_width = self.lanes.stored(self.channels), self.horizontal.count
        padded = Axis(
            self._ring_columns,
            self._strip_columns,
            self.horizontal.step,
            0,
            self.horizontal.taps,
            self.horizontal.tap_step,
        )
        window = Window(self.vertical, padded)
        result = self._window_at(strip) if self.project else (row * out_width + strip.start) * stored

        def tile(columns: ColumnTile, channel: Expr, pieces: Sequence[Piece]) -> None:
            def at(y: Expr, x: Expr) -> Expr:
                return self._ring_at(k, strip, y, x) + channel

            sums = window.tile(k, operands, row, columns, channel, pieces, at)
            for c in range(columns.width):
                for p, piece in enumerate(pieces):
                    value = self.activation.apply(k, sums.get(c, p), piece.lanes)
                    at_output = result + (columns.start + c) * stored + channel + piece.offset
                    k.store(operands.output, at_output, value, piece.lanes)

        blocks = self.lanes.blocks(self.channels, 1)
        for_column_tiles(
            k,
            padded,
            self.tile_columns,
            lambda columns: for_blocks(k, blocks, lambda channel, pieces: tile(columns, channel, pieces)),
        )

    def _window_at(self, strip: "_Strip") -> Expr:
        """Where the depthwise layer's row lies."""
        return strip.ring + self._ring_rows * self._ring_row_elements

    def _project_row(
        self, k: KernelBuilder, project: PointwiseStage, operands: Operands, head: Operands, strip: "_Strip", row: Expr
    ) -> None:
        stored, out_width = self.lanes.stored(project.columns), self.horizontal.count
        skip = operands.input if self.residual_from_head else head.input

        def put(column: Expr, channel: Expr, lanes: int, value: Expr) -> None:
            at = (row * out_width + strip.start + column) * stored + channel
            position = strip.start + column - strip.origin
            skip_at = self._ring_at(k, strip, row, position) + channel if self.residual_from_head else at
            k.store(operands.output, at, project.epilogue.apply(k, value, lanes, skip, skip_at), lanes)

        inner, window_row = self.lanes.stored(self.channels), self._window_at(strip)
        project.row(k, operands, lambda column: window_row + column * inner, put)


@dataclass(frozen=True)
class _Strip:
    """Where a strip of columns works: its ring, its first output, and columns of the first layer.

    `origin` is the first one that its windows read, in the padding perhaps, `head` the first one that it computes.
    """

    ring: Expr
    start: Expr
    origin: Expr
    head: Expr


def ring_rows(vertical: Axis) -> int:
    """Rows of the first layer that one row of outputs reads."""
    return (vertical.taps - 1) * vertical.tap_step + 1


def reach(horizontal: Axis, outputs: int) -> int:
    """Columns of the first layer that so many neighbouring outputs read, padding included."""
    return horizontal.step * (outputs - 1) + (horizontal.taps - 1) * horizontal.tap_step + 1
