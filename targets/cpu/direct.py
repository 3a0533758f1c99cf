"""Direct convolutions over all input channels: the stem, strided and k x k convolutions, and transposed ones.

Each tile holds `tile_columns` outputs along the width times `tile_vectors` vectors of output channels. An input value
is broadcast, so inputs may lie in any order: the caller's NHWC or NCHW tensor is read without a copy.

    for row of outputs (shared out among threads)
      for tile of columns
        for block of output channels: accumulate over rows of taps, taps, input channels

A transposed convolution is one such convolution per phase of its stride (see window.transposed_axes).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnv3c.graph.ops import Conv2d, ConvTranspose2d
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.cpu.builder import Buffer, Expr, KernelBuilder, Parameter, Registers
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.kernel import CpuKernel, Operands, Put, convolution_buffers, for_blocks
from mnv3c.targets.cpu.lanes import Lanes, Piece, device_lanes
from mnv3c.targets.cpu.packing import pack_bias, pack_columns
from mnv3c.targets.cpu.window import (
    MAX_PRINTED_TAPS,
    Axis,
    ColumnTile,
    convolution_axes,
    for_column_tiles,
    for_rows_inside,
    tile_width,
    transposed_axes,
)
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, LayerWork, Storage

# Up to this many products per row of taps are printed one after another; more become a loop over the input channels.
_UNROLLED_PRODUCTS = 16


@dataclass(frozen=True)
class Strides:
    """Distance in floats between neighbouring rows, columns and channels of the input, and its size."""

    row: int
    column: int
    channel: int
    elements: int
    caller: bool


@dataclass(frozen=True)
class Phase:
    """The outputs that one pair of axes computes; an ordinary convolution has a single phase."""

    vertical: Axis
    horizontal: Axis

    @property
    def taps(self) -> int:
        """Number of taps of a window."""
        return self.vertical.taps * self.horizontal.taps


@dataclass(frozen=True)
class Direct(CpuKernel):
    """One tiling of a direct convolution."""

    family: ClassVar[str] = "direct"
    phases: tuple[Phase, ...]
    strides: Strides
    in_channels: int
    out_width: int
    out_rows: int
    out_channels: int
    lanes: Lanes
    epilogue: Epilogue
    tile_columns: int
    tile_vectors: int

    @property
    def parameters(self) -> Mapping[str, int]:
        """The tile."""
        return {"tile_columns": self.tile_columns, "tile_vectors": self.tile_vectors}

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """For each phase its taps, each [input channels, block]; and the bias."""
        blocks = self.lanes.blocks(self.out_channels, self.tile_vectors)
        packed = [
            pack_columns(self._phase_weight(weights["weight"], phase), blocks, self.lanes) for phase in self.phases
        ]
        return np.concatenate(packed), pack_bias(weights.get("bias"), self.out_channels, self.lanes)

    def _phase_weight(self, weight: Array, phase: Phase) -> Array:
        rows = [phase.vertical.weight(j) for j in range(phase.vertical.taps)]
        columns = [phase.horizontal.weight(j) for j in range(phase.horizontal.taps)]
        return weight[np.ix_(rows, columns)].reshape(phase.taps * self.in_channels, self.out_channels)

    def buffers(self) -> Sequence[Parameter]:
        """Input, [residual], weight, bias, output."""
        outputs = self.out_rows * self.out_width * self.lanes.stored(self.out_channels)
        covered = self.lanes.covered(self.out_channels)
        depth = sum(phase.taps for phase in self.phases) * self.in_channels
        return convolution_buffers(
            Parameter("input", self.strides.elements, caller=self.strides.caller),
            weights=depth * covered,
            bias=covered,
            outputs=outputs,
            residual=self.epilogue.residual is not None,
        )

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        operands = Operands.of(buffers)
        start = 0
        for phase in self.phases:
            self._phase(k, operands, phase, start)
            start += phase.taps * self.in_channels * self.lanes.covered(self.out_channels)

    def _phase(self, k: KernelBuilder, operands: Operands, phase: Phase, weights: int) -> None:
        stored = self.lanes.stored(self.out_channels)
        work = phase.vertical.count * phase.horizontal.count * phase.taps * self.in_channels * stored
        with k.parallel(phase.vertical.count, work) as row:
            start = phase.vertical.output(row) * self.out_width

            def put(column: Expr, channel: Expr, lanes: int, value: Expr) -> None:
                at = (start + phase.horizontal.output(column)) * stored + channel
                k.store(operands.output, at, self.epilogue.apply(k, value, lanes, operands.residual, at), lanes)

            self._row(k, operands, phase, weights, row, put)

    def row(self, k: KernelBuilder, operands: Operands, row: Expr, put: Put) -> None:
        """Print the computation of one output row of an ordinary convolution; `put` takes the sums."""
        self._row(k, operands, self.phases[0], 0, row, put)

    def _row(self, k: KernelBuilder, operands: Operands, phase: Phase, weights: int, row: Expr, put: Put) -> None:
        blocks = self.lanes.blocks(self.out_channels, self.tile_vectors)

        def columns(tile: ColumnTile) -> None:
            def block(channel: Expr, pieces: Sequence[Piece]) -> None:
                sums = self._sums(k, operands, _Tile(phase, weights, row, tile, channel, pieces))
                for c in range(tile.width):
                    for p, piece in enumerate(pieces):
                        put(tile.start + c, channel + piece.offset, piece.lanes, sums.get(c, p))

            for_blocks(k, blocks, block)

        for_column_tiles(k, phase.horizontal, self.tile_columns, columns)

    def _sums(self, k: KernelBuilder, operands: Operands, tile: "_Tile") -> Registers:
        sums = k.registers(tile.columns.width, tile.pieces)
        sums.clear()
        phase = tile.phase

        def tap_row(i: Expr, input_row: Expr) -> None:
            for j in range(phase.horizontal.taps):
                tap = i * phase.horizontal.taps + j
                if phase.horizontal.taps * self.in_channels <= _UNROLLED_PRODUCTS:
                    for in_channel in range(self.in_channels):
                        self._product(k, operands, tile, sums, tap, j, in_channel, input_row)
                else:
                    with k.serial(self.in_channels) as in_channel:
                        self._product(k, operands, tile, sums, tap, j, in_channel, input_row)

        if phase.taps:
            for_rows_inside(k, phase.vertical, tile.row, tap_row)
        sums.add(operands.bias, tile.channel)
        return sums

    def _product(
        self,
        k: KernelBuilder,
        operands: Operands,
        tile: "_Tile",
        sums: Registers,
        tap: Expr,
        j: int,
        in_channel: Expr,
        input_row: Expr,
    ) -> None:
        """Add input channel x tap for every column of the tile; column tap `j` is known when the kernel is built."""
        panel = tile.channel * (tile.phase.taps * self.in_channels) + tile.weights
        at = panel + (tap * self.in_channels + in_channel) * sum(piece.lanes for piece in tile.pieces)
        vectors = [k.load(operands.weight, at + piece.offset, piece.lanes) for piece in tile.pieces]
        for c in range(tile.columns.width):
            if tile.columns.reads(c, j):
                column = tile.phase.horizontal.input(tile.columns.start + c, j)
                at = input_row * self.strides.row + column * self.strides.column
                scalar = operands.input[at + in_channel * self.strides.channel]
                for p, piece in enumerate(tile.pieces):
                    sums.set(c, p, sums.get(c, p) + k.splat(scalar, piece.lanes) * vectors[p])


@dataclass(frozen=True)
class _Tile:
    """Where a tile works: its phase, that phase's weights, output row, columns, first output channel and vectors."""

    phase: Phase
    weights: int
    row: Expr
    columns: ColumnTile
    channel: Expr
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class DirectFamily:
    """Tilings for convolutions and transposed convolutions over all channels."""

    name: str = "direct"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[Direct, ...] | None:
        """Tiles that fit the registers; None for grouped convolutions and other layers."""
        phases = _phases(work)
        if (
            phases is None
            or max(phase.horizontal.taps for phase in phases) > MAX_PRINTED_TAPS
            or any(storage != "target" for storage in work.storage[1:])
        ):
            return None
        op, x, out = work.op, work.inputs[0], work.output
        assert isinstance(op, Conv2d | ConvTranspose2d)
        lanes = device_lanes(device)
        epilogue = Epilogue(op.activation, op.residual if isinstance(op, Conv2d) else None)
        width = max(phase.horizontal.count for phase in phases)
        # Unrolled products leave LLVM more addresses to keep than a loop does (stem: 98 us by 8 columns, 160 by 23).
        unrolled = phases[0].horizontal.taps * x.channels <= _UNROLLED_PRODUCTS
        budget = device.vector.registers // 4 if unrolled else device.vector.registers * 3 // 4
        most_vectors = len(lanes.pieces(out.channels))
        return (
            tuple(
                Direct(
                    phases,
                    input_strides(x, work.storage[0], lanes),
                    x.channels,
                    out.spatial[1],
                    out.spatial[0],
                    out.channels,
                    lanes,
                    epilogue,
                    tile_width(width, max(1, budget // vectors)),
                    vectors,
                )
                for vectors in (2, 1, 3)
                if vectors <= most_vectors
            )
            or None
        )


def _phases(work: LayerWork) -> tuple[Phase, ...] | None:
    op, (height, width), (out_height, out_width) = work.op, work.inputs[0].spatial, work.output.spatial
    if isinstance(op, Conv2d) and op.groups == 1:
        return (Phase(*convolution_axes(work.inputs[0], work.output, op)),)
    if isinstance(op, ConvTranspose2d):
        verticals = transposed_axes(height, out_height, op.kernel[0], op.stride[0], op.padding[0])
        horizontals = transposed_axes(width, out_width, op.kernel[1], op.stride[1], op.padding[1])
        return tuple(Phase(vertical, horizontal) for vertical in verticals for horizontal in horizontals)
    return None


def input_strides(x: TensorType, storage: Storage, lanes: Lanes) -> Strides:
    """How an input lies in memory: as stored rows, or as the caller's dense tensor."""
    height, width = x.spatial
    if storage == "NCHW":
        return Strides(width, 1, height * width, x.elements, caller=True)
    pixel = x.channels if storage == "NHWC" else lanes.stored(x.channels)
    return Strides(width * pixel, pixel, 1, height * width * pixel, caller=storage == "NHWC")
