"""Maximum and average over windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Pool2d
from mnv3c.targets.gpu.builder import Buffer, Expr, GpuBuilder, Parameter
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, Source
from mnv3c.targets.gpu.window import Axis, window_axes
from mnv3c.targets.target import LayerWork


@dataclass(frozen=True)
class Pool(GpuCandidate):
    """A work item computes one vector."""

    family: ClassVar[str] = "pool"
    source: Source
    rows: Axis
    columns: Axis
    largest: bool
    count_padding: bool

    @property
    def items(self) -> Size:
        """Columns, rows, slices."""
        return (self.columns.count, self.rows.count, self.source.slices)

    @property
    def _output(self) -> Destination:
        return self.destination(self.rows.count * self.columns.count, self.source.channels)

    def buffers(self) -> Sequence[Parameter]:
        """Input, output."""
        return (Parameter("input", self.source.elements), self._output.parameter)

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        x, output = buffers
        column, row, part = k.work_item(0), k.work_item(1), k.work_item(2)
        with k.when(*self.inside((column, row, part))):
            total = k.register("total")
            # The lowest number of the type; every window has a tap inside.
            lowest = -65504.0 if k.precision.arithmetic == "fp16" else -3.4028234663852886e38
            total.set(k.splat(lowest if self.largest else 0.0))
            with k.serial(self.rows.taps, "i") as i:
                y = self.rows.source(row, i)
                with k.when(*self.rows.inside(y)), k.serial(self.columns.taps, "j") as j:
                    at = self.columns.source(column, j)
                    with k.when(*self.columns.inside(at)):
                        value = self.source.load(k, x, part, y, at)
                        total.set(k.maximum(total.get(), value) if self.largest else total.get() + value)
            value = total.get() if self.largest else k.divide(total.get(), k.splat(self._counted(k, row, column)))
            self._output.store(k, output, part, row * self.columns.count + column, value)

    def _counted(self, k: GpuBuilder, row: Expr, column: Expr) -> Expr:
        if self.count_padding:
            return k.scalar(self.rows.taps * self.columns.taps)
        extents = []
        for axis, position in ((self.rows, row), (self.columns, column)):
            first = position * axis.stride - axis.padding
            extents.append(k.minimum(first + axis.taps, axis.size) - k.maximum(first, 0))
        return k.cast(k.to_single(extents[0] * extents[1]))


@dataclass(frozen=True)
class PoolFamily:
    """Windowed pools."""

    precision: Precision
    name: str = "pool"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[Pool, ...] | None:
        """The one kernel; None for any other layer."""
        op, x = work.op, work.inputs[0]
        if not isinstance(op, Pool2d) or work.storage != ("target",):
            return None
        rows, columns = window_axes(op, work)
        source = Source.of(x)
        local = local_size((columns.count, rows.count, source.slices), device)
        return (Pool(self.precision, local, source, rows, columns, op.mode == "max", op.count_padding),)
