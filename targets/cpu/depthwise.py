"""Depthwise convolutions: each vector holds neighbouring channels, each tile a run of outputs along the width.

for row of outputs (shared out among threads)
  for tile of columns                               its inputs are read as whole runs of memory
    for block of channels: accumulators for `tile_columns` outputs stay in registers over all taps
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Conv2d
from mnv3c.targets.cpu.builder import Buffer, Expr, KernelBuilder, Parameter, Registers
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.kernel import CpuKernel, Operands, convolution_buffers, for_blocks
from mnv3c.targets.cpu.lanes import Lanes, Piece, device_lanes
from mnv3c.targets.cpu.packing import pack_layer
from mnv3c.targets.cpu.window import (
    MAX_PRINTED_TAPS,
    Axis,
    ColumnTile,
    convolution_axes,
    for_column_tiles,
    for_rows_inside,
    row_tiles,
)
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, LayerWork


@dataclass(frozen=True)
class Depthwise(CpuKernel):
    """One tiling of a depthwise convolution."""

    family: ClassVar[str] = "depthwise"
    vertical: Axis
    horizontal: Axis
    channels: int
    lanes: Lanes
    epilogue: Epilogue
    tile_columns: int
    tile_vectors: int

    @property
    def parameters(self) -> Mapping[str, int]:
        """The tile."""
        return {"tile_columns": self.tile_columns, "tile_vectors": self.tile_vectors}

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """Taps by block of channels, and the bias."""
        taps = self.vertical.taps * self.horizontal.taps
        return pack_layer(weights, taps, self.channels, self.tile_vectors, self.lanes)

    def buffers(self) -> Sequence[Parameter]:
        """Input, [residual], weight, bias, output."""
        stored, covered = self.lanes.stored(self.channels), self.lanes.covered(self.channels)
        outputs = self.vertical.count * self.horizontal.count * stored
        return convolution_buffers(
            Parameter("input", self.vertical.size * self.horizontal.size * stored),
            weights=self.vertical.taps * self.horizontal.taps * covered,
            bias=covered,
            outputs=outputs,
            residual=self.epilogue.residual is not None,
        )

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        operands, blocks = Operands.of(buffers), self.lanes.blocks(self.channels, self.tile_vectors)
        stored, width, out_width = self.lanes.stored(self.channels), self.horizontal.size, self.horizontal.count
        window = Window(self.vertical, self.horizontal)
        work = self.vertical.count * out_width * stored * window.taps
        with k.parallel(self.vertical.count, work) as row:

            def tile(columns: ColumnTile, channel: Expr, pieces: Sequence[Piece]) -> None:
                sums = window.tile(
                    k, operands, row, columns, channel, pieces, lambda y, x: (y * width + x) * stored + channel
                )
                for c in range(columns.width):
                    for p, piece in enumerate(pieces):
                        at = (row * out_width + columns.start + c) * stored + channel + piece.offset
                        value = self.epilogue.apply(k, sums.get(c, p), piece.lanes, operands.residual, at)
                        k.store(operands.output, at, value, piece.lanes)

            for_column_tiles(
                k,
                self.horizontal,
                self.tile_columns,
                lambda columns: for_blocks(k, blocks, lambda channel, pieces: tile(columns, channel, pieces)),
            )


@dataclass(frozen=True)
class Window:
    """The depthwise window itself, accumulated over its taps."""

    vertical: Axis
    horizontal: Axis

    @property
    def taps(self) -> int:
        """Taps of the window."""
        return self.vertical.taps * self.horizontal.taps

    def tile(
        self,
        k: KernelBuilder,
        operands: Operands,
        row: Expr,
        columns: ColumnTile,
        channel: Expr,
        pieces: Sequence[Piece],
        input_at: Callable[[Expr, Expr], Expr],
    ) -> Registers:
        """The sums of a run of outputs, bias included; `input_at(row, column)` says where a block's inputs lie."""
        width = sum(piece.lanes for piece in pieces)
        taps = channel * self.taps
        sums = k.registers(columns.width, pieces)
        sums.clear()

        def tap_row(i: Expr, input_row: Expr) -> None:
            for j in range(self.horizontal.taps):
                for p, piece in enumerate(pieces):
                    at = taps + (i * self.horizontal.taps + j) * width + piece.offset
                    tap = k.load(operands.weight, at, piece.lanes)
                    for c in range(columns.width):
                        if columns.reads(c, j):
                            at = input_at(input_row, self.horizontal.input(columns.start + c, j)) + piece.offset
                            sums.set(c, p, sums.get(c, p) + k.load(operands.input, at, piece.lanes) * tap)

        for_rows_inside(k, self.vertical, row, tap_row)
        sums.add(operands.bias, channel)
        return sums


@dataclass(frozen=True)
class DepthwiseFamily:
    """Tilings for depthwise convolutions of any kernel, stride, padding and dilation."""

    name: str = "depthwise"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[Depthwise, ...] | None:
        """Tiles that fit the registers; None for any other layer."""
        op, x = work.op, work.inputs[0]
        if isinstance(op, Conv2d) and op.kernel[1] > MAX_PRINTED_TAPS:
            return None
        if not (isinstance(op, Conv2d) and op.depthwise(x.channels)):
            return None
        if any(storage != "target" for storage in work.storage):
            return None
        vertical, horizontal = convolution_axes(x, work.output, op)
        lanes = device_lanes(device)
        return tuple(
            Depthwise(
                vertical,
                horizontal,
                x.channels,
                lanes,
                Epilogue(op.activation, op.residual),
                columns,
                vectors,
            )
            for vectors in (1, 2)
            for columns in row_tiles(horizontal.count, device.vector.registers // vectors)
            if vectors == 1 or lanes.covered(x.channels) >= vectors * lanes.widest
        )
