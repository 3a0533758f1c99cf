"""Products of a single row: the layers of a squeeze-excite gate and of the head. They wait for their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.targets.gpu.builder import LANES, Buffer, GpuBuilder, Parameter
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.epilogue import Epilogue
from mnv3c.targets.gpu.grid import VECTOR_BYTES, Size, group_items, power_of_two
from mnv3c.targets.gpu.kernel import GpuCandidate, Operands, weighted_buffers
from mnv3c.targets.gpu.packing import bias_of, row_weights
from mnv3c.targets.gpu.precision import Precision
from mnv3c.targets.gpu.tensors import Destination, slices
from mnv3c.targets.target import Array, LayerWork, Packed

_SPLITS = (4, 8, 16, 32)


@dataclass(frozen=True)
class RowProduct(GpuCandidate):
    """The items of a column of the work-group share one output slice: each sums up a part of the inputs.

    Their sums meet in local memory. Along a row of the group the items read neighbouring vectors of weights.
    """

    family: ClassVar[str] = "row_product"
    channels: int
    outputs: int
    epilogue: Epilogue

    @property
    def items(self) -> Size:
        """Output slices, and the parts that the inputs are cut into."""
        return (slices(self.outputs), self.local[1], 1)

    @property
    def local_memory_bytes(self) -> int:
        """A vector of float32 for each item."""
        return VECTOR_BYTES * self.local[0] * self.local[1]

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        """Weights by input channel, and the bias."""
        weight = weights["weight"].reshape(self.channels, self.outputs)
        return row_weights(weight, LANES, self.precision), bias_of(weights, self.outputs)

    @property
    def _output(self) -> Destination:
        return self.destination(1, self.outputs)

    def buffers(self) -> Sequence[Parameter]:
        """Input, [residual], weight, bias, output."""
        deep, wide = LANES * slices(self.channels), LANES * slices(self.outputs)
        residual = self.epilogue.residual is not None
        return weighted_buffers(Parameter("input", deep), deep * wide, wide, self._output, residual=residual)

    def body(self, k: GpuBuilder, *buffers: Buffer) -> None:
        ops = Operands.of(buffers)
        deep, wide = slices(self.channels), slices(self.outputs)
        across, split, _ = self.local
        part, portion = k.work_item(0), k.item(1)
        column = k.minimum(part, wide - 1)
        total, x = k.register("sum"), k.register("x")
        total.set(k.splat(0.0))
        with k.serial(-(-deep // split), "n") as n:
            c = n * split + portion
            with k.when(*([c < deep] if deep % split else [])):
                x.set(k.load(ops.input, c))
                for lane in range(LANES):
                    weight = k.load(ops.weight, (c * LANES + lane) * wide + column)
                    total.set(total.get() + k.splat(k.lane(x.get(), lane)) * weight)
        sums = k.shared("sums", across * split)
        k.put(sums, portion * across + k.item(0), k.wide(total.get()))
        k.barrier()
        with k.when(portion < 1, part < wide):
            for other in range(1, split):
                total.set(total.get() + k.cast(sums[other * across + k.item(0)]))
            value = total.get() + k.load(ops.bias, part)
            self._output.store(k, ops.output, part, 0, self.epilogue.apply(k, value, ops.residual, part))


@dataclass(frozen=True)
class RowProductFamily:
    """Dense layers, and 1x1 convolutions of 1x1 maps."""

    precision: Precision
    name: str = "row_product"

    def candidates(self, work: LayerWork, device: GpuDevice) -> tuple[RowProduct, ...] | None:
        """A candidate for each way to cut the inputs, the most items first that a group has; None for other layers."""
        op, x = work.op, work.inputs[0]
        single = isinstance(op, Dense) or (isinstance(op, Conv2d) and op.pointwise and x.spatial == (1, 1))
        if not single or x.shape[0] != 1 or set(work.storage) != {"target"}:
            return None
        largest = group_items(device)
        deep, wide = slices(x.channels), power_of_two(slices(work.output.channels))
        cuts = [split for split in _SPLITS if split <= min(largest, power_of_two(deep))] or [1]
        wanted = min(cuts, key=lambda split: abs(split - largest / min(wide, 8)))
        ordered = [wanted, *(split for split in cuts if split != wanted)]
        shapes = [(min(wide, largest // split), split, 1) for split in ordered]
        return tuple(
            RowProduct(self.precision, shape, x.channels, work.output.channels, Epilogue.of(op)) for shape in shapes
        )
