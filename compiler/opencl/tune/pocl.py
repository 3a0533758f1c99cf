"""PoCL through pyopencl: kernels built, buffers on the device, launches timed by the device's own events."""

import re
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv3c.compiler.opencl.installation import POCL_PLATFORM
from mnv3c.compiler.opencl.program import BUILD_OPTIONS
from mnv3c.graph.errors import MissingError

Values = npt.NDArray[Any]
_LEAST_US = 1e-3  # events count nanoseconds
_VERSION = re.compile(r"PoCL (\S+)")


class Pocl:
    """PoCL's device. Raises MissingError, which says what to install, where there is none."""

    def __init__(self) -> None:
        try:
            self._cl = import_module("pyopencl")
        except ImportError:
            raise MissingError("no PoCL found: pip install 'mnv3c[gpu]'") from None
        try:
            platforms = [each for each in self._cl.get_platforms() if each.name == POCL_PLATFORM]
        except self._cl.Error:
            platforms = []
        devices = [device for platform in platforms for device in platform.get_devices()]
        if not devices:
            raise MissingError("no PoCL found among the OpenCL platforms: pip install 'mnv3c[gpu]'")
        version = _VERSION.search(devices[0].platform.version)
        self.version = f"PoCL {version[1]}" if version else "PoCL"
        self.device = str(devices[0].name)
        self._context = self._cl.Context(devices[:1])
        profiling = self._cl.command_queue_properties.PROFILING_ENABLE
        self._queue = self._cl.CommandQueue(self._context, properties=profiling)

    def kernel(self, source: str, name: str) -> Any:
        """A kernel, built. Raises RuntimeError with the compiler's log where it refuses."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a compiler has to say about a kernel that it took
            try:
                built = self._cl.Program(self._context, source).build(BUILD_OPTIONS)
            except self._cl.Error as error:
                raise RuntimeError(_log(str(error))) from None
            return self._cl.Kernel(built, name)

    def buffer(self, values: Values) -> Any:
        """A buffer that holds a copy of the values."""
        flags = self._cl.mem_flags.READ_WRITE | self._cl.mem_flags.COPY_HOST_PTR
        return self._cl.Buffer(self._context, flags, hostbuf=np.ascontiguousarray(values))

    def write(self, buffer: Any, values: Values) -> None:
        """Copy values to a buffer."""
        self._cl.enqueue_copy(self._queue, buffer, values)

    def read(self, buffer: Any, like: Values) -> Values:
        """What a buffer holds, in the shape and type of `like`."""
        values = np.empty_like(like)
        self._cl.enqueue_copy(self._queue, values, buffer)
        return values

    def time_us(self, launches: Sequence[tuple[Any, Sequence[int], Sequence[int], Sequence[Any]]]) -> float:
        """Launch (kernel, work items, work-group, arguments) one after another.

        Microseconds from each kernel's start to its end, summed.
        """
        events = [kernel(self._queue, tuple(items), tuple(group), *given) for kernel, items, group, given in launches]
        self._queue.finish()
        return max(_LEAST_US, float(sum(event.profile.end - event.profile.start for event in events)) / 1e3)


def _log(message: str) -> str:
    """The first error of the compiler's log, or the whole message."""
    errors = [line for line in message.splitlines() if "error:" in line.lower()]
    return errors[0] if errors else message
