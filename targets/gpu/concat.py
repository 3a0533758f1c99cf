"""Concatenation of channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from mnv3c.graph.ops import Concat
from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter, Register
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size, local_size
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, slices
from mnv3c.targets.target import LayerWork


@dataclass(frozen=True)
class ConcatChannels(GpuCandidate):
    """A work item writes one vector: copied where all inputs begin with a slice, else gathered lane by lane."""

    family: ClassVar[str] = "concat"
    pixels: int
    channels: tuple[int, ...]

    @property
    def items(self) -> Size:
        """Pixels, slices."""
        return (self.pixels, slices(sum(self.channels)), 1)

    @property
    def _output(self) -> Destination:
        return self.destination(self.pixels, sum(self.channels))

    @property
    def _starts(self) -> tuple[int, ...]:
        return tuple(accumulate(self.channels[:-1], initial=0))

    def buffers(self) -> Sequence[Parameter]:
        """Inputs, output."""
        inputs = (Parameter(f"input{i}", self.pixels * LANES * slices(c)) for i, c in enumerate(self.channels))
        return (*inputs, self._output.parameter)

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        *inputs, output = buffers
        pixel, part = k.work_item(0), k.work_item(1)
        with k.when(*self.inside((pixel, part))):
            if all(start % LANES == 0 for start in self._starts):
                value = k.register("value")
                self._copy(k, inputs, value, pixel, part)
                self._output.store(k, output, part, pixel, value.get())
            else:
                values = [k.register(f"v{lane}", 1) for lane in range(LANES)]
                for lane, each in enumerate(values):
                    self._gather(k, inputs, each, pixel, part * LANES + lane)
                self._output.store(k, output, part, pixel, k.vector([each.get() for each in values]))

    def _copy(self, k: GpuBuilder, inputs: Sequence[Buffer], value: Register, pixel: Expr, part: Expr) -> None:
        for buffer, start, count in zip(inputs, self._starts, self.channels, strict=True):
            first = start // LANES
            with k.when(part >= first, part < first + slices(count)):
                value.set(k.load(buffer, (part - first) * self.pixels + pixel))

    def _gather(self, k: GpuBuilder, inputs: Sequence[Buffer], value: Register, pixel: Expr, channel: Expr) -> None:
        value.set(k.scalar(0.0))
        for buffer, start, count in zip(inputs, self._starts, self.channels, strict=True):
            with k.when(channel >= start, channel < start + count):
                at = k.quotient(channel - start, LANES) * self.pixels + pixel
                value.set(k.load_scalar(buffer, at * LANES + k.modulo(channel - start, LANES)))


@dataclass(frozen=True)
class ConcatFamily:
    """Concatenations."""

    precision: Precision
    name: str = "concat"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[ConcatChannels, ...] | None:
        """The one kernel; None for any other layer."""
        x = work.inputs[0]
        if not isinstance(work.op, Concat) or x.shape[0] != 1 or set(work.storage) != {"target"}:
            return None
        pixels = x.spatial[0] * x.spatial[1]
        local = local_size((pixels, slices(work.output.channels), 1), device)
        return (ConcatChannels(self.precision, local, pixels, tuple(each.channels for each in work.inputs)),)
