"""OpenCL kernels of one layer, launched through PoCL and timed by the device's own events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnv3c.compiler.opencl.tune.pocl import Pocl, Values

Size = tuple[int, ...]
OUTPUT = "output"


@dataclass(frozen=True)
class Launch:
    """One kernel; `arguments` name buffers, in the order of its parameters."""

    name: str
    source: str
    global_size: Size
    local_size: Size
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class LayerKernels:
    """All launches of a layer, with what its buffers hold before the first; the buffer `output` holds the result."""

    launches: tuple[Launch, ...]
    buffers: Mapping[str, Values] = field(repr=False)


@dataclass(frozen=True)
class Ready:
    """Kernels that are built, with their buffers on the device."""

    pocl: Pocl
    kernels: tuple[tuple[Any, Size, Size, tuple[Any, ...]], ...]
    output: tuple[Any, Values]

    @staticmethod
    def of(pocl: Pocl, layer: LayerKernels) -> "Ready":
        """Build a layer's kernels and put its buffers on the device."""
        held = {name: pocl.buffer(values) for name, values in layer.buffers.items()}
        kernels = tuple(
            (pocl.kernel(each.source, each.name), each.global_size, each.local_size, _all(held, each.arguments))
            for each in layer.launches
        )
        return Ready(pocl, kernels, (held[OUTPUT], layer.buffers[OUTPUT]))

    def time_us(self) -> float:
        """Microseconds from each kernel's start to its end, summed, as the device's events tell."""
        return self.pocl.time_us(self.kernels)

    def result(self) -> Values:
        """Run once and fetch the output."""
        self.time_us()
        buffer, like = self.output
        return self.pocl.read(buffer, like)


def _all(held: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(held[name] for name in names)
