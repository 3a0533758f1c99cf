"""Nearest and bilinear resampling, with positions as exact fractions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Resize
from mnv3c.targets.gpu.builder import Buffer, Expr, GpuBuilder, Parameter
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, Source
from mnv3c.targets.target import LayerWork


@dataclass(frozen=True)
class ResizePixels(GpuCandidate):
    """A work item computes one vector from one or from four of the input's."""

    family: ClassVar[str] = "resize"
    op: Resize
    source: Source

    @property
    def items(self) -> Size:
        """Columns, rows, slices."""
        height, width = self.op.size
        return (width, height, self.source.slices)

    @property
    def _output(self) -> Destination:
        return self.destination(self.op.size[0] * self.op.size[1], self.source.channels)

    def buffers(self) -> Sequence[Parameter]:
        """Input, output."""
        return (Parameter("input", self.source.elements), self._output.parameter)

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        x, output = buffers
        column, row, part = k.work_item(0), k.work_item(1), k.work_item(2)
        height, width = self.op.size
        with k.when(*self.inside((column, row, part))):
            rows = _SourceAxis(self.op, self.source.height, height)
            columns = _SourceAxis(self.op, self.source.width, width)
            value = k.register("value")
            if self.op.mode == "nearest":
                value.set(self.source.load(k, x, part, rows.nearest(k, row), columns.nearest(k, column)))
            else:
                value.set(self._bilinear(k, x, part, rows.linear(k, row), columns.linear(k, column)))
            self._output.store(k, output, part, row * width + column, value.get())

    def _bilinear(
        self, k: GpuBuilder, x: Buffer, part: Expr, rows: tuple[Expr, Expr, Expr], columns: tuple[Expr, Expr, Expr]
    ) -> Expr:
        top, bottom, down = rows
        left, right, across = columns
        lines = [
            self.source.load(k, x, part, y, left) * k.splat(k.scalar(1.0) - across)
            + self.source.load(k, x, part, y, right) * k.splat(across)
            for y in (top, bottom)
        ]
        return lines[0] * k.splat(k.scalar(1.0) - down) + lines[1] * k.splat(down)


@dataclass(frozen=True)
class _SourceAxis:
    """Where the outputs of one axis lie in the input: a numerator over one denominator (ONNX, operator Resize)."""

    op: Resize
    extent: int
    size: int

    def nearest(self, k: GpuBuilder, index: Expr) -> Expr:
        """The nearest input index."""
        numerator, denominator = self._position(index)
        if self.op.coordinates == "asymmetric":
            nearest = k.quotient(numerator, denominator)
        else:
            # Half rounds down: ceil(p - 1/2), with numbers that are not negative.
            nearest = k.quotient(2 * numerator + (denominator - 1), 2 * denominator)
        return k.minimum(k.maximum(nearest, 0), self.extent - 1)

    def linear(self, k: GpuBuilder, index: Expr) -> tuple[Expr, Expr, Expr]:
        """The input indices on both sides, and the share of the second."""
        numerator, denominator = self._position(index)
        clipped = k.minimum(k.maximum(numerator, 0), (self.extent - 1) * denominator)
        low = k.quotient(clipped, denominator)
        high = k.minimum(low + 1, self.extent - 1)
        return low, high, k.cast(k.divide(k.to_single(clipped - low * denominator), k.single(denominator)))

    def _position(self, index: Expr) -> tuple[Expr, int]:
        match self.op.coordinates:
            case "asymmetric":
                return index * self.extent, self.size
            case "align_corners":
                return index * (self.extent - 1), max(self.size - 1, 1)
            case "pytorch_half_pixel" if self.size == 1:
                return index, 1
            case _:
                return (2 * index + 1) * self.extent - self.size, 2 * self.size


@dataclass(frozen=True)
class ResizeFamily:
    """Resampling."""

    precision: Precision
    name: str = "resize"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[ResizePixels, ...] | None:
        """The one kernel; None for any other layer."""
        if not isinstance(work.op, Resize) or work.storage != ("target",):
            return None
        source = Source.of(work.inputs[0])
        local = local_size((work.op.size[1], work.op.size[0], source.slices), device)
        return (ResizePixels(self.precision, local, work.op, source),)
