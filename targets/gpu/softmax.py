"""Softmax over the features of one row, by one work-group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Softmax
from mnv3c.targets.gpu.builder import LANES, Buffer, Expr, GpuBuilder, Parameter
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size, group_items, power_of_two
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, slices
from mnv3c.targets.target import LayerWork

_LOWEST = -3.4028234663852886e38  # the least float32


@dataclass(frozen=True)
class SoftmaxRow(GpuCandidate):
    """exp(x - max) / sum in float32. Each item looks after every `local[0]`-th feature."""

    family: ClassVar[str] = "softmax"
    channels: int

    @property
    def items(self) -> Size:
        """One work-group."""
        return self.local

    @property
    def local_memory_bytes(self) -> int:
        """A float for each item."""
        return 4 * self.local[0]

    @property
    def _output(self) -> Destination:
        return self.destination(1, self.channels)

    def buffers(self) -> Sequence[Parameter]:
        """Input, output."""
        stored = LANES * slices(self.channels)
        return Parameter("input", stored), self._output.parameter

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        x, output = buffers
        shared = k.shared("values", self.local[0], 1)
        largest = self._reduced(k, "largest", shared, _LOWEST, lambda total, value: k.maximum(total, value), x)
        k.barrier()
        total = self._reduced(k, "total", shared, 0.0, lambda sum_, value: sum_ + k.exp(value - largest), x, plain=True)
        with k.serial(-(-slices(self.channels) // self.local[0]), "n") as n:
            part = n * self.local[0] + k.item(0)
            with k.when(part < slices(self.channels)):
                value = k.register("value", dtype="float32")
                value.set(k.wide(k.load(x, part)))
                # The minimum changes no feature; padding may hold more than the largest of them.
                below = [k.minimum(k.lane(value.get(), lane) - largest, k.single(0.0)) for lane in range(LANES)]
                lanes = [k.divide(k.exp(each), total) for each in below]
                self._output.store(k, output, part, 0, k.cast(k.vector(lanes)))

    def _reduced(
        self,
        k: GpuBuilder,
        name: str,
        shared: Buffer,
        start: float,
        step: Callable[[Expr, Expr], Expr],
        x: Buffer,
        plain: bool = False,
    ) -> Expr:
        """The features reduced by `step`, the items' results by addition (`plain`) or by `step`."""
        own = k.register(name, 1, "float32")
        own.set(k.single(start))
        with k.serial(-(-self.channels // self.local[0]), "n") as n:
            feature = n * self.local[0] + k.item(0)
            with k.when(feature < self.channels):
                own.set(step(own.get(), k.wide(k.load_scalar(x, feature))))
        k.put(shared, k.item(0), own.get())
        k.barrier()
        own.set(shared[0])
        for other in range(1, self.local[0]):
            own.set(own.get() + shared[other] if plain else step(own.get(), shared[other]))
        return own.get()


@dataclass(frozen=True)
class SoftmaxFamily:
    """Softmax."""

    precision: Precision
    name: str = "softmax"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[SoftmaxRow, ...] | None:
        """The one kernel, for one row; None for any other layer."""
        x = work.inputs[0]
        if not isinstance(work.op, Softmax) or x.shape[0] != 1 or work.storage != ("target",):
            return None
        size = min(power_of_two(x.channels), group_items(device), 64)
        return (SoftmaxRow(self.precision, (size, 1, 1), x.channels),)
