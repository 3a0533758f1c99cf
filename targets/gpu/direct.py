"""Convolutions over all channels with any window, the stem among them, which reads the caller's own tensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Conv2d
from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter, Register
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.epilogue import Epilogue
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate, Operands, weighted_buffers
from mnv3c.targets.gpu.packing import bias_of, dense_weights
from mnv3c.targets.gpu.pointwise import multiply_add
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.row_tile import finish_row, load_columns
from mnv3c.targets.gpu.tensors import Destination, Source, slices
from mnv3c.targets.gpu.tiling import Tile, TiledWork, registers, tiles
from mnv3c.targets.gpu.window import Axis, window_axes
from mnv3c.targets.target import Array, LayerWork, Packed


@dataclass(frozen=True)
class Direct(GpuCandidate):
    """A work item computes neighbouring pixels of a row, of neighbouring output slices.

    With groups, all channels of a slice belong to one group.
    """

    family: ClassVar[str] = "direct"
    source: Source
    rows: Axis
    columns: Axis
    outputs: int
    groups: int
    epilogue: Epilogue
    shape: Tile

    @property
    def items(self) -> Size:
        """Tiles along a row, rows, tiles of output slices."""
        across = -(-self.columns.count // self.shape.pixels)
        return (across, self.rows.count, -(-slices(self.outputs) // self.shape.slices))

    @property
    def tile(self) -> Mapping[str, int]:
        """Pixels and slices of a work item."""
        return {"pixels": self.shape.pixels, "slices": self.shape.slices}

    @property
    def registers(self) -> int:
        """Sums, weights, and one row of inputs."""
        return registers(self.shape) + 4 * (len(self.columns.columns(self.shape.pixels)) - self.shape.pixels)

    @property
    def _deep(self) -> int:
        """Input slices that an output reads."""
        return slices(self.source.channels // self.groups)

    @property
    def _padded(self) -> int:
        width = LANES * self.shape.slices
        return -(-self.outputs // width) * width

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """Weights by output slice, and the bias."""
        width = LANES * self.shape.slices
        return dense_weights(weights["weight"], width, self.precision), bias_of(weights, self.outputs, width)

    @property
    def _output(self) -> Destination:
        return self.destination(self.rows.count * self.columns.count, self.outputs)

    def buffers(self) -> Sequence[Parameter]:
        """Input, [residual], weight, bias, output."""
        return weighted_buffers(
            Parameter("input", self.source.elements, "stored" if self.source.storage == "target" else "caller"),
            self.rows.taps * self.columns.taps * self._deep * LANES * self._padded,
            self._padded,
            self._output,
            residual=self.epilogue.residual is not None,
        )

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        ops = Operands.of(buffers)
        first, y = k.work_item(0) * self.shape.pixels, k.work_item(1)
        part = k.work_item(2) * self.shape.slices
        with k.when(*self.inside((k.work_item(0), y, k.work_item(2)))):
            sums = [[k.register(f"sum{s}_{p}") for p in range(self.shape.pixels)] for s in range(self.shape.slices)]
            for register in (each for row in sums for each in row):
                register.set(k.splat(0.0))
            with k.serial(self.rows.taps, "i") as i:
                row = self.rows.source(y, i)
                with k.when(*self.rows.inside(row)), k.serial(self._deep, "c") as c:
                    self._row(k, ops, sums, (part, row, first), i, c)
            for s, line in enumerate(sums):
                whole = slices(self.outputs) % self.shape.slices == 0
                with k.when(*([] if whole or s == 0 else [part + s < slices(self.outputs)])):
                    finish_row(k, ops, line, self.epilogue, self._output, self.columns, (part + s, y, first))

    def _row(
        self,
        k: GpuBuilder,
        ops: Operands,
        sums: Sequence[Sequence[Register]],
        at: tuple[Expr, Expr, Expr],
        i: Expr,
        c: Expr,
    ) -> None:
        part, row, first = at
        start = k.quotient(part, slices(self.outputs // self.groups)) * self._deep if self.groups > 1 else 0
        x = load_columns(k, ops.input, self.source, self.columns, (start + c, row, first), self.shape.pixels)
        for tap in range(self.columns.taps):
            offset = tap * self.columns.dilation
            values = [x[p * self.columns.stride + offset] for p in range(self.shape.pixels)]
            for s, line in enumerate(sums):
                block = ((part + s) * self.rows.taps + i) * self.columns.taps + tap
                multiply_add(k, line, values, ops.weight, (block * self._deep + c) * LANES)


@dataclass(frozen=True)
class DirectFamily:
    """Convolutions without groups, and those whose groups are of whole slices."""

    precision: Precision
    name: str = "direct"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[Direct, ...] | None:
        """A candidate for each tile that fits; None for any other layer."""
        op, x = work.op, work.inputs[0]
        if not isinstance(op, Conv2d) or not self._readable(op, work):
            return None
        rows, columns = window_axes(op, work)
        source, out = Source.of(x, work.storage[0]), slices(op.out_channels)
        steps = rows.taps * slices(x.channels // op.groups)
        job = TiledWork(
            rows.count, columns.count, out, steps, LANES * LANES * columns.taps, columns.stride, LANES * columns.taps
        )
        offered = []
        for tile in tiles(job, device):
            if op.groups > 1 and tile.slices > 1:
                continue
            items = (-(-columns.count // tile.pixels), rows.count, -(-out // tile.slices))
            kernel = (rows, columns, op.out_channels, op.groups, Epilogue.of(op), tile)
            offered.append(Direct(self.precision, local_size(items, device), source, *kernel))
        fitting = [each for each in offered if each.registers <= device.cores.registers_per_item]
        return tuple(fitting or offered[-1:])

    def _readable(self, op: Conv2d, work: LayerWork) -> bool:
        channels = work.inputs[0].channels
        whole = op.groups == 1 or (channels // op.groups % LANES == 0 and op.out_channels // op.groups % LANES == 0)
        first, *others = work.storage
        if first != "target" and (channels > LANES or op.groups > 1):
            return False
        return whole and all(storage == "target" for storage in others)
