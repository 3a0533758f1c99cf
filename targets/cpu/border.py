"""Conversions between the caller's dense tensor and stored rows, at the network's borders only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnv3c.targets.cpu.builder import MOVE, Buffer, KernelBuilder, Parameter
from mnv3c.targets.cpu.direct import input_strides
from mnv3c.targets.cpu.kernel import CpuKernel
from mnv3c.targets.cpu.lanes import Lanes, device_lanes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import BorderWork


@dataclass(frozen=True)
class Border(CpuKernel):
    """A copy, value by value, from the caller's order (`in`) or to it (`out`)."""

    family: ClassVar[str] = "border"
    work: BorderWork
    lanes: Lanes

    def buffers(self) -> Sequence[Parameter]:
        """Source, destination."""
        tensor = self.work.tensor
        rows = Parameter("rows", tensor.elements // tensor.channels * self.lanes.stored(tensor.channels))
        dense = Parameter("dense", tensor.elements, caller=True)
        return (dense, rows) if self.work.direction == "in" else (rows, dense)

    def body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        tensor, inwards = self.work.tensor, self.work.direction == "in"
        dense, rows = buffers if inwards else reversed(buffers)
        height, width = tensor.spatial
        caller = input_strides(tensor, self.work.caller_layout, self.lanes)
        with k.parallel(height, 2 * MOVE * tensor.elements) as y, k.serial(width) as x, k.serial(tensor.channels) as c:
            outside = y * caller.row + x * caller.column + c * caller.channel
            inside = (y * width + x) * self.lanes.stored(tensor.channels) + c
            if inwards:
                k.store(rows, inside, dense[outside], 1)
            else:
                k.store(dense, outside, rows[inside], 1)


def border(work: BorderWork, device: CpuDevice) -> Border:
    """The conversion kernel of a device."""
    return Border(work, device_lanes(device))
