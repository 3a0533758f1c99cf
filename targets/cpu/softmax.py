"""Softmax over the features of each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.graph.ops import Softmax
from mnv3c.targets.cpu.builder import Buffer, KernelBuilder, Parameter
from mnv3c.targets.cpu.epilogue import exp
from mnv3c.targets.cpu.kernel import CpuKernel
from mnv3c.targets.cpu.lanes import Lanes, Piece, device_lanes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import LayerWork


@dataclass(frozen=True)
class SoftmaxRow(CpuKernel):
    """exp(x - max) / sum, value by value: a classifier's row is too short to be worth vectors."""

    family: ClassVar[str] = "softmax"
    channels: int
    lanes: Lanes

    def buffers(self) -> Sequence[Parameter]:
        """Input, output."""
        stored = self.lanes.stored(self.channels)
        return Parameter("input", stored), Parameter("output", stored)

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        x, output = buffers
        state = k.registers(2, (Piece(0, 1),))
        state.set(0, 0, x[0])
        state.set(1, 0, k.splat(0.0, 1))
        with k.serial(self.channels) as c:
            state.set(0, 0, k.maximum(state.get(0, 0), x[c]))
        with k.serial(self.channels) as c:
            k.store(output, c, exp(k, x[c] - state.get(0, 0), 1), 1)
            state.set(1, 0, state.get(1, 0) + output[c])
        with k.serial(self.channels) as c:
            k.store(output, c, k.divide(output[c], state.get(1, 0)), 1)


@dataclass(frozen=True)
class SoftmaxFamily:
    """Softmax."""

    name: str = "softmax"

    def candidates(self, work: LayerWork, device: CpuDevice) -> tuple[SoftmaxRow, ...] | None:
        """The one kernel, for one row; None for any other layer."""
        if not isinstance(work.op, Softmax) or work.inputs[0].shape[0] != 1 or work.storage[0] != "target":
            return None
        return (SoftmaxRow(work.inputs[0].channels, device_lanes(device)),)
