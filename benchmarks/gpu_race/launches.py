"""OpenCL kernels of one layer, launched through pyopencl and timed by the device's own events."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import MissingError

Values = npt.NDArray[Any]
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

    queue: Any
    kernels: tuple[tuple[Any, Size, Size, tuple[Any, ...]], ...]
    output: tuple[Any, Values]

    def time_us(self) -> float:
        """Microseconds from each kernel's start to its end, summed, as the device's events tell."""
        events = [kernel(self.queue, size, group, *given) for kernel, size, group, given in self.kernels]
        self.queue.finish()
        return float(sum(event.profile.end - event.profile.start for event in events)) / 1e3

    def result(self) -> Values:
        """Run once and fetch the output."""
        self.time_us()
        buffer, like = self.output
        values = np.empty_like(like)
        import_module("pyopencl").enqueue_copy(self.queue, values, buffer)
        return values


class OpenCl:
    """The first OpenCL device of this machine. Raises MissingError where there is none."""

    def __init__(self) -> None:
        try:
            self._cl = import_module("pyopencl")
            device = next(device for platform in self._cl.get_platforms() for device in platform.get_devices())
        except (ImportError, StopIteration):
            raise MissingError("no OpenCL here; the extra gpu brings pyopencl and PoCL") from None
        except self._cl.Error as error:
            raise MissingError(f"no OpenCL platform ({error}); the extra gpu brings PoCL") from None
        self._context = self._cl.Context([device])
        profiling = self._cl.command_queue_properties.PROFILING_ENABLE
        self._queue = self._cl.CommandQueue(self._context, properties=profiling)
        self.platform = f"{device.platform.name}, {device.version.strip()}"
        self.device = str(device.name)

    def ready(self, layer: LayerKernels) -> Ready:
        """Build a layer's kernels and put its buffers on the device."""
        flags = self._cl.mem_flags.READ_WRITE | self._cl.mem_flags.COPY_HOST_PTR
        held = {
            name: self._cl.Buffer(self._context, flags, hostbuf=np.ascontiguousarray(values))
            for name, values in layer.buffers.items()
        }
        kernels = tuple(
            (self._kernel(each), each.global_size, each.local_size, tuple(held[name] for name in each.arguments))
            for each in layer.launches
        )
        return Ready(self._queue, kernels, (held[OUTPUT], layer.buffers[OUTPUT]))

    def _kernel(self, launch: Launch) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a compiler has to say about a kernel that it took
            return self._cl.Kernel(self._cl.Program(self._context, launch.source).build(), launch.name)
