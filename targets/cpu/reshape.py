"""Layers that move values: concatenation of channels, and resampling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnv3c.graph.ops import Concat, Resize
from mnv3c.targets.cpu.builder import MOVE, Buffer, Expr, KernelBuilder, Parameter
from mnv3c.targets.cpu.kernel import CpuKernel, for_vectors
from mnv3c.targets.cpu.lanes import Lanes, Piece, device_lanes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, LayerWork


@dataclass(frozen=True)
class ConcatChannels(CpuKernel):
    """The inputs' channels side by side in each row."""

    family: ClassVar[str] = "concat"
    rows: int
    channels: tuple[int, ...]
    lanes: Lanes

    def buffers(self) -> Sequence[Parameter]:
        """Inputs, output."""
        inputs = (Parameter(f"input{i}", self.rows * self.lanes.stored(c)) for i, c in enumerate(self.channels))
        output = Parameter("output", self.rows * self.lanes.stored(sum(self.channels)))
        return (*inputs, output)

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        *inputs, output = buffers
        stored_out = self.lanes.stored(sum(self.channels))
        with k.parallel(self.rows, MOVE * self.rows * sum(self.channels)) as row:
            offset = 0
            for x, channels in zip(inputs, self.channels, strict=True):
                for piece in self._pieces(channels):
                    value = k.load(x, row * self.lanes.stored(channels) + piece.offset, piece.lanes)
                    k.store(output, row * stored_out + offset + piece.offset, value, piece.lanes)
                offset += channels

    def _pieces(self, channels: int) -> tuple[Piece, ...]:
        """Vectors for the whole ones and single channels for the rest, so that no neighbour is overwritten."""
        whole = channels - channels % self.lanes.narrowest
        return (*self.lanes.pieces(whole), *(Piece(c, 1) for c in range(whole, channels)))


@dataclass(frozen=True)
class ResizeRows(CpuKernel):
    """Nearest or bilinear resampling.

    Positions and fractions are computed when weights are packed, in float64, and read from tables: per output row (and
    column) the two source positions and the fraction of the second. Nearest uses the first position only.
    """

    family: ClassVar[str] = "resize"
    op: Resize
    height: int
    width: int
    channels: int
    lanes: Lanes

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """[first, second, fraction] for every output row, then for every output column."""
        return (
            resize_table(self.op, self.height, self.op.size[0]),
            resize_table(self.op, self.width, self.op.size[1]),
        )

    def buffers(self) -> Sequence[Parameter]:
        """Input, row table, column table, output."""
        stored = self.lanes.stored(self.channels)
        return (
            Parameter("input", self.height * self.width * stored),
            Parameter("row_table", 3 * self.op.size[0]),
            Parameter("column_table", 3 * self.op.size[1]),
            Parameter("output", self.op.size[0] * self.op.size[1] * stored),
        )

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        blocks = self.lanes.blocks(self.channels, 1)
        work = 2 * MOVE * self.op.size[0] * self.op.size[1] * self.channels
        with k.parallel(self.op.size[0], work) as row, k.serial(self.op.size[1]) as column:
            for_vectors(k, blocks, lambda start, piece: self._vector(k, buffers, row, column, start, piece))

    def _vector(
        self, k: KernelBuilder, buffers: tuple[Buffer, ...], row: Expr, column: Expr, block: Expr, piece: Piece
    ) -> None:
        x, row_table, column_table, output = buffers
        stored, lanes, channel = self.lanes.stored(self.channels), piece.lanes, block + piece.offset

        def source(y: int, z: int) -> Expr:
            source_row, source_column = (
                k.to_int(row_table[row * 3 + y], 1),
                k.to_int(column_table[column * 3 + z], 1),
            )
            return k.load(x, (source_row * self.width + source_column) * stored + channel, lanes)

        value = source(0, 0)
        if self.op.mode == "bilinear":
            down, right = k.splat(row_table[row * 3 + 2], lanes), k.splat(column_table[column * 3 + 2], lanes)
            upper = value + (source(0, 1) - value) * right
            lower = source(1, 0)
            lower = lower + (source(1, 1) - lower) * right
            value = upper + (lower - upper) * down
        k.store(output, (row * self.op.size[1] + column) * stored + channel, value, lanes)


def resize_table(op: Resize, size: int, out_size: int) -> Array:
    """[first, second, fraction] of every output position along one axis, flat; ONNX's Resize operator, version 13."""
    out = np.arange(out_size, dtype=np.float64)
    scale = size / out_size
    match op.coordinates:
        case "half_pixel":
            position = (out + 0.5) * scale - 0.5
        case "pytorch_half_pixel":
            position = (out + 0.5) * scale - 0.5 if out_size > 1 else np.zeros(1)
        case "asymmetric":
            position = out * scale
        case "align_corners":
            position = out * (size - 1) / (out_size - 1) if out_size > 1 else np.zeros(1)
    if op.mode == "nearest":
        # round_prefer_floor for the centred rules, floor for `asymmetric` (see graph.ops.Resize).
        position = np.floor(position) if op.coordinates == "asymmetric" else np.ceil(position - 0.5)
    position = np.clip(position, 0, size - 1)
    first = np.floor(position)
    second = np.minimum(first + 1, size - 1)
    return np.stack([first, second, position - first], axis=1).astype(np.float32).ravel()


@dataclass(frozen=True)
class ReshapeFamily:
    """Concatenation and resampling."""

    name: str = "reshape"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[ConcatChannels | ResizeRows, ...] | None:
        """The one kernel; None for any other layer."""
        op, x, lanes = work.op, work.inputs[0], device_lanes(device)
        if any(storage != "target" for storage in work.storage):
            return None
        if isinstance(op, Concat):
            channels = tuple(t.channels for t in work.inputs)
            return (ConcatChannels(x.elements // x.channels, channels, lanes),)
        if isinstance(op, Resize):
            return (ResizeRows(op, *x.spatial, x.channels, lanes),)
        return None
