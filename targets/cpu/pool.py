"""Windowed and global pooling: vectors of channels, windows without branches along the width."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnv3c.graph.ops import GlobalAveragePool, Pool2d
from mnv3c.targets.cpu.builder import MOVE, Buffer, Expr, KernelBuilder, Parameter, worth_sharing
from mnv3c.targets.cpu.kernel import CpuKernel, for_vectors, sharing_cores
from mnv3c.targets.cpu.lanes import Lanes, Piece, device_lanes
from mnv3c.targets.cpu.window import (
    MAX_PRINTED_TAPS,
    Axis,
    ColumnTile,
    convolution_axes,
    for_column_tiles,
    for_rows_inside,
    tile_width,
)
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, LayerWork

_LOWEST = float(np.finfo(np.float32).min)
# Independent partial sums of a global mean: they hide the latency of the addition and keep rounding small.
_PARTIAL_SUMS = 8


@dataclass(frozen=True)
class WindowPool(CpuKernel):
    """A maximum or mean over windows. A mean multiplies by a table of reciprocal window sizes, one per output."""

    family: ClassVar[str] = "window_pool"
    op: Pool2d
    vertical: Axis
    horizontal: Axis
    channels: int
    lanes: Lanes
    tile_columns: int

    @property
    def parameters(self) -> Mapping[str, int]:
        """The tile."""
        return {"tile_columns": self.tile_columns}

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """The reciprocal of each window's size, for a mean."""
        if self.op.mode == "max":
            return ()
        rows, columns = (self._window_sizes(axis) for axis in (self.vertical, self.horizontal))
        return ((1.0 / np.outer(rows, columns)).astype(np.float32).ravel(),)

    def _window_sizes(self, axis: Axis) -> list[int]:
        if self.op.count_padding:
            return [axis.taps] * axis.count
        return [sum(axis.inside(i, j) for j in range(axis.taps)) for i in range(axis.count)]

    def buffers(self) -> Sequence[Parameter]:
        """Input, [reciprocals], output."""
        stored, outputs = self.lanes.stored(self.channels), self.vertical.count * self.horizontal.count
        return (
            Parameter("input", self.vertical.size * self.horizontal.size * stored),
            *((Parameter("reciprocal", outputs),) if self.op.mode == "average" else ()),
            Parameter("output", outputs * stored),
        )

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        blocks = self.lanes.blocks(self.channels, 1)
        taps = self.vertical.taps * self.horizontal.taps
        work = self.vertical.count * self.horizontal.count * taps * self.channels
        with k.parallel(self.vertical.count, work) as row:

            def columns(tile: ColumnTile) -> None:
                for_vectors(k, blocks, lambda start, piece: self._tile(k, buffers, row, tile, start, piece))

            for_column_tiles(k, self.horizontal, self.tile_columns, columns)

    def _tile(
        self,
        k: KernelBuilder,
        buffers: tuple[Buffer, ...],
        row: Expr,
        tile: ColumnTile,
        channel: Expr,
        piece: Piece,
    ) -> None:
        x, *reciprocal, output = buffers
        stored, lanes = self.lanes.stored(self.channels), piece.lanes
        state = k.registers(tile.width, (piece,))
        for c in range(tile.width):
            state.set(c, 0, k.splat(_LOWEST if self.op.mode == "max" else 0.0, lanes))

        def tap_row(i: Expr, input_row: Expr) -> None:
            for j in range(self.horizontal.taps):
                for c in range(tile.width):
                    if tile.reads(c, j):
                        column = self.horizontal.input(tile.start + c, j)
                        at = (input_row * self.horizontal.size + column) * stored + channel + piece.offset
                        value = k.load(x, at, lanes)
                        old = state.get(c, 0)
                        state.set(c, 0, k.maximum(old, value) if self.op.mode == "max" else old + value)

        for_rows_inside(k, self.vertical, row, tap_row)
        for c in range(tile.width):
            at = row * self.horizontal.count + tile.start + c
            scale = k.splat(reciprocal[0][at], lanes) if reciprocal else k.splat(1.0, lanes)
            k.store(output, at * stored + channel + piece.offset, state.get(c, 0) * scale, lanes)


@dataclass(frozen=True)
class GlobalPool(CpuKernel):
    """The mean of every channel over the whole map.

    Each of `chunks` adds up rows of its own, which the same thread has mostly just written: to fetch them from another
    core takes twice as long as to add them.
    """

    family: ClassVar[str] = "global_pool"
    rows: int
    channels: int
    lanes: Lanes
    chunks: int = 1

    @property
    def workspace_elements(self) -> int:
        """The sums of each chunk."""
        return self.chunks * self.lanes.stored(self.channels) if self.chunks > 1 else 0

    def buffers(self) -> Sequence[Parameter]:
        """Input, [workspace], output."""
        stored = self.lanes.stored(self.channels)
        workspace = (Parameter("workspace", self.workspace_elements),) if self.chunks > 1 else ()
        return (Parameter("input", self.rows * stored), *workspace, Parameter("output", stored))

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        x, *workspace, output = buffers
        stored, blocks = self.lanes.stored(self.channels), self.lanes.blocks(self.channels, 1)
        share = 1.0 / self.rows
        if not workspace:
            for_vectors(k, blocks, lambda at, piece: self._sum(k, x, at, self.rows, output, at, piece, share))
            return
        (sums,) = workspace
        count = self.rows // self.chunks
        with k.parallel(self.chunks, MOVE * self.rows * self.channels) as chunk:
            start, target = chunk * count * stored, chunk * stored
            for_vectors(k, blocks, lambda at, piece: self._sum(k, x, start + at, count, sums, target + at, piece, 1.0))

        def finish(at: Expr, piece: Piece) -> None:
            total = k.load(sums, at, piece.lanes)
            for chunk in range(1, self.chunks):
                total = total + k.load(sums, at + chunk * stored, piece.lanes)
            for row in range(self.chunks * count, self.rows):
                total = total + k.load(x, at + row * stored, piece.lanes)
            k.store(output, at, total * k.splat(share, piece.lanes), piece.lanes)

        for_vectors(k, blocks, finish)

    def _sum(
        self,
        k: KernelBuilder,
        x: Buffer,
        start: Expr,
        rows: int,
        target: Buffer,
        at: Expr,
        piece: Piece,
        factor: float,
    ) -> None:
        """One vector of channels over `rows` rows, times a factor; several sums hide the latency of an addition."""
        stored = self.lanes.stored(self.channels)
        partial = min(_PARTIAL_SUMS, rows)
        sums = k.registers(partial, (piece,))
        for s in range(partial):
            sums.set(s, 0, k.load(x, start + s * stored, piece.lanes))
        with k.serial(rows // partial - 1) as r:
            for s in range(partial):
                sums.set(s, 0, sums.get(s, 0) + k.load(x, start + ((r + 1) * partial + s) * stored, piece.lanes))
        total = sums.get(0, 0)
        for s in range(1, partial):
            total = total + sums.get(s, 0)
        for row in range(rows - rows % partial, rows):
            total = total + k.load(x, start + row * stored, piece.lanes)
        k.store(target, at, total * k.splat(factor, piece.lanes), piece.lanes)


@dataclass(frozen=True)
class PoolFamily:
    """Pools."""

    name: str = "pool"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[WindowPool | GlobalPool, ...] | None:
        """One kernel for each pool; None for any other layer."""
        op, x, lanes = work.op, work.inputs[0], device_lanes(device)
        if work.storage[0] != "target":
            return None
        if isinstance(op, GlobalAveragePool):
            rows = x.spatial[0] * x.spatial[1]
            chunks = sharing_cores(device) if worth_sharing(MOVE * rows * x.channels) else 1
            return (GlobalPool(rows, x.channels, lanes, min(chunks, rows)),)
        if not isinstance(op, Pool2d) or op.kernel[1] > MAX_PRINTED_TAPS:
            return None
        vertical, horizontal = convolution_axes(x, work.output, op)
        # A wide window is printed tap by tap, so its tile is one output wide to keep the kernel small.
        columns = tile_width(horizontal.count, device.vector.registers // 4 if op.kernel[1] <= 7 else 1)
        return (WindowPool(op, vertical, horizontal, x.channels, lanes, columns),)
