"""Transposed convolutions: each output pixel gathers the taps that fall on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import ConvTranspose2d
from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.epilogue import Epilogue
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate, Operands, weighted_buffers
from mnv3c.targets.gpu.packing import bias_of, dense_weights
from mnv3c.targets.gpu.pointwise import multiply_add
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.row_tile import finish_row
from mnv3c.targets.gpu.tensors import Destination, Source, slices
from mnv3c.targets.gpu.tiling import Tile, TiledWork, registers, tiles
from mnv3c.targets.gpu.window import Axis, window_axes
from mnv3c.targets.target import Array, LayerWork, Packed


@dataclass(frozen=True)
class Transposed(GpuCandidate):
    """A work item computes one pixel of `parts` neighbouring output slices."""

    family: ClassVar[str] = "transposed"
    source: Source
    rows: Axis
    columns: Axis
    outputs: int
    epilogue: Epilogue
    parts: int

    @property
    def items(self) -> Size:
        """Columns, rows, tiles of output slices."""
        return (self.columns.count, self.rows.count, -(-slices(self.outputs) // self.parts))

    @property
    def tile(self) -> Mapping[str, int]:
        """Slices of a work item."""
        return {"slices": self.parts}

    @property
    def registers(self) -> int:
        """Those of the tile."""
        return registers(Tile(1, self.parts))

    @property
    def _padded(self) -> int:
        width = LANES * self.parts
        return -(-self.outputs // width) * width

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """Weights by output slice, and the bias."""
        width = LANES * self.parts
        return dense_weights(weights["weight"], width, self.precision), bias_of(weights, self.outputs, width)

    @property
    def _output(self) -> Destination:
        return self.destination(self.rows.count * self.columns.count, self.outputs)

    def buffers(self) -> Sequence[Parameter]:
        """Input, weight, bias, output."""
        taps = self.rows.taps * self.columns.taps
        return weighted_buffers(
            Parameter("input", self.source.elements),
            taps * self.source.slices * LANES * self._padded,
            self._padded,
            self._output,
            residual=False,
        )

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        ops = Operands.of(buffers)
        column, row = k.work_item(0), k.work_item(1)
        part = k.work_item(2) * self.parts
        with k.when(*self.inside((column, row, k.work_item(2)))):
            sums = [k.register(f"sum{s}") for s in range(self.parts)]
            for register in sums:
                register.set(k.splat(0.0))
            x = k.register("x")
            for i, y, ahead in self._taps(k, self.rows, row):
                for j, place, aside in self._taps(k, self.columns, column):
                    with k.when(*ahead, *aside), k.serial(self.source.slices, "c") as c:
                        x.set(self.source.load(k, ops.input, c, y, place))
                        for s, register in enumerate(sums):
                            block = ((part + s) * self.rows.taps + i) * self.columns.taps + j
                            multiply_add(k, [register], [x], ops.weight, (block * self.source.slices + c) * LANES)
            for s, register in enumerate(sums):
                whole = slices(self.outputs) % self.parts == 0
                with k.when(*([] if whole or s == 0 else [part + s < slices(self.outputs)])):
                    finish_row(k, ops, [register], self.epilogue, self._output, self.columns, (part + s, row, column))

    @staticmethod
    def _taps(k: GpuBuilder, axis: Axis, position: Expr) -> list[tuple[Expr, Expr, list[Expr]]]:
        """Taps that fall on an output: (tap, input index, conditions under which there is such a tap and input)."""
        first = k.modulo(position + axis.padding, axis.stride)
        nearest = k.quotient(position + axis.padding, axis.stride)
        found = []
        for n in range(-(-axis.taps // axis.stride)):
            tap, source = first + n * axis.stride, nearest - n
            conditions = [source >= 0, source < axis.size]
            if (n + 1) * axis.stride > axis.taps:
                conditions.append(tap < axis.taps)
            found.append((tap, source, conditions))
        return found


@dataclass(frozen=True)
class TransposedFamily:
    """Transposed convolutions."""

    precision: Precision
    name: str = "transposed"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[Transposed, ...] | None:
        """A candidate for each number of slices that fits; None for any other layer."""
        op, x = work.op, work.inputs[0]
        if not isinstance(op, ConvTranspose2d) or work.storage != ("target",):
            return None
        rows, columns = window_axes(op, work)
        source, out = Source.of(x), slices(op.out_channels)
        job = TiledWork(rows.count * columns.count, 1, out, source.slices, LANES * LANES, 1, LANES)
        offered = []
        for parts in dict.fromkeys(tile.slices for tile in tiles(job, device)):
            local = local_size((columns.count, rows.count, -(-out // parts)), device)
            kernel = (source, rows, columns, op.out_channels, Epilogue.of(op), parts)
            offered.append(Transposed(self.precision, local, *kernel))
        return tuple(offered)
