"""Conversions between the caller's dense float32 tensor and stored slices, at the network's borders only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter, Place
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, Source
from mnv3c.targets.target import BorderWork


@dataclass(frozen=True)
class Border(GpuCandidate):
    """A work item moves one vector: from the caller's tensor, or to it where that is `delivered`."""

    family: ClassVar[str] = "border"
    source: Source

    @property
    def items(self) -> Size:
        """Pixels, slices."""
        return (self.source.pixels, self.source.slices, 1)

    @property
    def _output(self) -> Destination:
        return self.destination(self.source.pixels, self.source.channels)

    def buffers(self) -> Sequence[Parameter]:
        """Source, destination."""
        place: Place = "stored" if self.source.storage == "target" else "caller"
        return (Parameter("input", self.source.elements, place), self._output.parameter)

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        given, output = buffers
        pixel, part = k.work_item(0), k.work_item(1)
        with k.when(*self.inside((pixel, part))):
            if self.source.storage == "target":
                vector = k.load(given, part * self.source.pixels + pixel)
            else:
                vector = k.vector([self._read(k, given, pixel, part, lane) for lane in range(LANES)])
            self._output.store(k, output, part, pixel, vector)

    def _read(self, k: GpuBuilder, dense: Buffer, pixel: Expr, part: Expr, lane: int) -> Expr:
        value, channel = k.register(f"v{lane}", 1), part * LANES + lane
        value.set(k.scalar(0.0))
        with k.when(*([channel < self.source.channels] if self.source.channels % LANES else [])):
            value.set(k.load_scalar(dense, self.source.place(pixel, channel)))
        return value.get()


def border(work: BorderWork, precision: Precision, device: GpuDevice) -> Border:
    """The conversion kernel of a device."""
    inwards = work.direction == "in"
    source = Source.of(work.tensor, work.caller_layout if inwards else "target")
    local = local_size((source.pixels, source.slices, 1), device)
    return Border(precision, local, source, delivered=None if inwards else work.caller_layout)
