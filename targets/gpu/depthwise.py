"""Depthwise convolutions of any window, stride and dilation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Conv2d
from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter, Register
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.epilogue import Epilogue
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate, Operands, weighted_buffers
from mnv3c.targets.gpu.packing import bias_of, depthwise_weights
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.row_tile import finish_row, load_columns
from mnv3c.targets.gpu.tensors import Destination, Source
from mnv3c.targets.gpu.tiling import Tile, TiledWork, registers, tiles
from mnv3c.targets.gpu.window import Axis, window_axes
from mnv3c.targets.target import Array, LayerWork, Packed


@dataclass(frozen=True)
class Depthwise(GpuCandidate):
    """A work item computes `pixels` neighbours of a row of one slice; what their windows share it loads once."""

    family: ClassVar[str] = "depthwise"
    source: Source
    rows: Axis
    columns: Axis
    epilogue: Epilogue
    pixels: int

    @property
    def items(self) -> Size:
        """Tiles along a row, rows, slices."""
        return (-(-self.columns.count // self.pixels), self.rows.count, self.source.slices)

    @property
    def tile(self) -> Mapping[str, int]:
        """Pixels of a work item."""
        return {"pixels": self.pixels}

    @property
    def registers(self) -> int:
        """Sums, and one row of inputs."""
        return registers(Tile(self.pixels, 1)) + 4 * (len(self.columns.columns(self.pixels)) - self.pixels)

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """Weights by slice, and the bias."""
        return depthwise_weights(weights["weight"], self.precision), bias_of(weights, self.source.channels)

    @property
    def _output(self) -> Destination:
        return self.destination(self.rows.count * self.columns.count, self.source.channels)

    def buffers(self) -> Sequence[Parameter]:
        """Input, [residual], weight, bias, output."""
        stored_channels = LANES * self.source.slices
        return weighted_buffers(
            Parameter("input", self.source.elements),
            self.rows.taps * self.columns.taps * stored_channels,
            stored_channels,
            self._output,
            residual=self.epilogue.residual is not None,
        )

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        ops = Operands.of(buffers)
        first, y, part = k.work_item(0) * self.pixels, k.work_item(1), k.work_item(2)
        with k.when(*self.inside((k.work_item(0), y, part))):
            sums = [k.register(f"sum{p}") for p in range(self.pixels)]
            for register in sums:
                register.set(k.splat(0.0))
            with k.serial(self.rows.taps, "i") as i:
                row = self.rows.source(y, i)
                with k.when(*self.rows.inside(row)):
                    self._row(k, ops, sums, (part, row, first), i)
            finish_row(k, ops, sums, self.epilogue, self._output, self.columns, (part, y, first))

    def _row(
        self, k: GpuBuilder, ops: Operands, sums: Sequence[Register], at: tuple[Expr, Expr, Expr], i: Expr
    ) -> None:
        part = at[0]
        x = load_columns(k, ops.input, self.source, self.columns, at, self.pixels)
        for tap in range(self.columns.taps):
            weight = k.register(f"w{tap}")
            weight.set(k.load(ops.weight, (part * self.rows.taps + i) * self.columns.taps + tap))
            for p, register in enumerate(sums):
                value = x[p * self.columns.stride + tap * self.columns.dilation]
                register.set(register.get() + value.get() * weight.get())


@dataclass(frozen=True)
class DepthwiseFamily:
    """Convolutions with one filter per channel."""

    precision: Precision
    name: str = "depthwise"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[Depthwise, ...] | None:
        """A candidate for each number of pixels that fits; None for any other layer."""
        op, x = work.op, work.inputs[0]
        if not isinstance(op, Conv2d) or not op.depthwise(x.channels) or set(work.storage) != {"target"}:
            return None
        rows, columns = window_axes(op, work)
        source = Source.of(x)
        taps = columns.taps
        job = TiledWork(rows.count * source.slices, columns.count, 1, rows.taps, LANES * taps, columns.stride, taps)
        offered = []
        for pixels in dict.fromkeys(tile.pixels for tile in tiles(job, device)):
            items = (-(-columns.count // pixels), rows.count, source.slices)
            local = local_size(items, device)
            offered.append(Depthwise(self.precision, local, source, rows, columns, Epilogue.of(op), pixels))
        fitting = [each for each in offered if each.registers <= device.cores.registers_per_item]
        return tuple(fitting or offered[-1:])
