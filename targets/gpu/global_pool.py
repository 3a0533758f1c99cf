"""The mean over a whole map: a work-group for each slice, whose items' sums meet in local memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import GlobalAveragePool
from mnv3c.targets.gpu.builder import Buffer, GpuBuilder, Parameter
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import VECTOR_BYTES, Size, group_items, power_of_two
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, Source
from mnv3c.targets.target import LayerWork


@dataclass(frozen=True)
class GlobalPool(GpuCandidate):
    """Sums are float32, whatever the precision: a map has thousands of pixels."""

    family: ClassVar[str] = "global_pool"
    source: Source

    @property
    def items(self) -> Size:
        """A work-group for each slice."""
        return (self.local[0], self.source.slices, 1)

    @property
    def local_memory_bytes(self) -> int:
        """A vector of float32 for each item."""
        return VECTOR_BYTES * self.local[0]

    @property
    def _output(self) -> Destination:
        return self.destination(1, self.source.channels)

    def buffers(self) -> Sequence[Parameter]:
        """Input, output."""
        return (Parameter("input", self.source.elements), self._output.parameter)

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        x, output = buffers
        pixels, width = self.source.pixels, self.local[0]
        item, part = k.item(0), k.group(1)
        total = k.register("sum", dtype="float32")
        total.set(k.wide(k.splat(0.0)))
        with k.serial(-(-pixels // width), "n") as n:
            pixel = n * width + item
            with k.when(*([pixel < pixels] if pixels % width else [])):
                total.set(total.get() + k.wide(k.load(x, part * pixels + pixel)))
        sums = k.shared("sums", width)
        k.put(sums, item, total.get())
        k.barrier()
        step = width // 2
        while step:
            with k.when(item < step):
                k.put(sums, item, sums[item] + sums[item + step])
            k.barrier()
            step //= 2
        with k.when(item < 1):
            self._output.store(k, output, part, 0, k.cast(sums[0] * k.wide(k.splat(1.0 / pixels))))


@dataclass(frozen=True)
class GlobalPoolFamily:
    """Global average pools."""

    precision: Precision
    name: str = "global_pool"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[GlobalPool, ...] | None:
        """A candidate for each size of the group, one item for every four pixels first; None for other layers."""
        if not isinstance(work.op, GlobalAveragePool) or work.storage != ("target",):
            return None
        source = Source.of(work.inputs[0])
        largest = group_items(device)
        wanted = max(1, min(largest, power_of_two(source.pixels) // 4))
        sizes = dict.fromkeys([wanted, *(n for n in (largest, largest // 4, 16) if 1 <= n <= largest)])
        return tuple(GlobalPool(self.precision, (size, 1, 1), source) for size in sizes)
