"""Layers that move values: concatenation of channels, and resampling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

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
    """[first, second, fraction] of every output position along one axis, flat; ONNX's Resize operator, version 13.

    Positions are exact fractions: in floating point a nearest position can fall on the wrong side of a half.
    """
    numerator, denominator = _positions(op, size, out_size)
    if op.mode == "nearest":
        # Floor for `asymmetric`, round_prefer_floor for the others (see graph.ops.Resize).
        asymmetric = op.coordinates == "asymmetric"
        nearest = numerator // denominator if asymmetric else -((denominator - 2 * numerator) // (2 * denominator))
        position = np.clip(nearest, 0, size - 1).astype(np.float64)
    else:
        position = np.clip(numerator / denominator, 0, size - 1)
    first = np.floor(position)
    second = np.minimum(first + 1, size - 1)
    return np.stack([first, second, position - first], axis=1).astype(np.float32).ravel()


def _positions(op: Resize, size: int, out_size: int) -> tuple[npt.NDArray[np.int64], int]:
    """Source positions as numerators over one denominator."""
    out = np.arange(out_size, dtype=np.int64)
    match op.coordinates:
        case "asymmetric":
            return out * size, out_size
        case "align_corners" if out_size > 1:
            return out * (size - 1), out_size - 1
        case "half_pixel":
            return (2 * out + 1) * size - out_size, 2 * out_size
        case "pytorch_half_pixel" if out_size > 1:
            return (2 * out + 1) * size - out_size, 2 * out_size
        case _:
            return out * 0, 1


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
