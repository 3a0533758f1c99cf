"""What happens inside the runner process: it loads kernels, checks what they compute, and times them.

A kernel is timed as it runs in a network. There the layers before have filled the nearest caches: a kernel's weights,
code and output come from behind the second level; only its inputs have just been written. So before every call a flood
of twice the second level is read and the inputs are written again. Candidates take turns of one call each, so that
drift of the machine meets all of them.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnv3c.compiler.tune.buffers import Arguments, Array, GuardedBuffer
from mnv3c.compiler.tune.case import Case, relative_error
from mnv3c.compiler.tune.turns import Checked, TurnHandler
from mnv3c.graph.errors import MissingError
from mnv3c.targets.target import Candidate

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Kernel:
    """A candidate and its function in a library."""

    library: Path
    symbol: str
    candidate: Candidate


@dataclass(frozen=True)
class Setup:
    """A layer ready to be measured: a number of its own, its values, and how its tensors are stored.

    For each input there are the floats it takes as stored and the conversion that brings it there from NHWC; None where
    the kernel reads the caller's tensor. `deliver` brings the output back.
    """

    number: int
    case: Path
    stored: tuple[tuple[int, Kernel] | None, ...]
    output_elements: int
    deliver: Kernel
    threads: int
    cache_bytes: int


def make_runner() -> "TurnHandler[Setup, Kernel]":
    """What the runner process answers with."""
    return TurnHandler(_Layer)


class _Layer:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._libraries: dict[Path, ctypes.CDLL] = {}
        self.flood = np.ones(2 * setup.cache_bytes, np.uint8)
        self.library(setup.deliver.library)
        self.case = Case.load(setup.case)
        self.inputs = [self._stored(x, how) for x, how in zip(self.case.inputs, setup.stored, strict=True)]
        self.before = [buffer.values.copy() for buffer in self.inputs]

    def kernel(self, kernel: Kernel) -> "_Kernel":
        return _Kernel(self, kernel)

    def library(self, path: Path) -> ctypes.CDLL:
        """A loaded library, its pool as strong as is asked for."""
        if path not in self._libraries:
            library = ctypes.CDLL(str(path))
            if library.mnv3c_pool_resize(self.setup.threads) != 0:
                raise MissingError(f"this machine cannot start {self.setup.threads} threads")
            self._libraries[path] = library
        return self._libraries[path]

    def delivered(self, output: GuardedBuffer) -> Array:
        """The output as the reference has it."""
        dense = GuardedBuffer.of(self.case.output.size)
        self.copy(self.setup.deliver, output, dense)
        return dense.values.reshape(self.case.output.shape)

    def copy(self, kernel: Kernel, source: GuardedBuffer, destination: GuardedBuffer) -> None:
        """Call a kernel that converts between layouts."""
        self.call(kernel, Arguments([source.values, destination.values]), inputs=0)

    def call(self, kernel: Kernel, arguments: Arguments, inputs: int) -> float:
        """Call a kernel; the time in microseconds. Raises OSError where it says that it failed.

        The first `inputs` arguments are written again before, and where there are any the caches are flooded.
        """
        library, time_ns = self.library(kernel.library), ctypes.c_uint64()
        code = library.mnv3c_tune_time(
            library[f"__tvm_ffi_{kernel.symbol}"],
            arguments.values,
            ctypes.c_int32(len(arguments)),
            ctypes.c_int32(inputs),
            ctypes.c_void_p(self.flood.ctypes.data),
            ctypes.c_uint64(self.flood.nbytes if inputs else 0),
            ctypes.c_int32(self.setup.threads),
            ctypes.byref(time_ns),
        )
        if code != 0:
            raise OSError(f"the kernel returned {code}")
        return time_ns.value / 1e3

    def _stored(self, x: Array, how: tuple[int, Kernel] | None) -> GuardedBuffer:
        dense = GuardedBuffer.holding(x)
        if how is None:
            return dense
        elements, conversion = how
        # What lies between the channels stays NaN: a kernel that mixes it in betrays itself.
        stored = GuardedBuffer.of(elements)
        self.copy(conversion, dense, stored)
        return stored


class _Kernel:
    def __init__(self, layer: _Layer, kernel: Kernel) -> None:
        self._layer, self._kernel = layer, kernel
        packed = [np.ascontiguousarray(array, np.float32) for array in kernel.candidate.pack(layer.case.weights)]
        self._before = [array.ravel() for array in packed]
        self._weights = [GuardedBuffer.holding(array) for array in packed]
        self._output = GuardedBuffer.of(layer.setup.output_elements)
        scratch = GuardedBuffer.of(kernel.candidate.workspace_elements)
        self._scratch = [scratch] if scratch.values.size else []
        buffers = (*layer.inputs, *self._weights, *self._scratch, self._output)
        self._arguments = Arguments([buffer.values for buffer in buffers])

    def run(self) -> float:
        """Call the kernel; the time in microseconds."""
        return self._layer.call(self._kernel, self._arguments, len(self._layer.inputs))

    def check_again(self) -> Checked:
        """As `check`, of one more call, without the output of the calls before."""
        self._output.values[:] = np.nan
        self.run()
        return self.check()

    def check(self) -> Checked:
        """What the calls so far have done wrong."""
        buffers = {
            "an input": self._layer.inputs,
            "the weights": self._weights,
            "its scratch memory": self._scratch,
            "the output": [self._output],
        }
        for name, guarded in buffers.items():
            if not all(buffer.intact() for buffer in guarded):
                return Checked(f"wrote outside {name}", tainted=True)
        for buffer, before in zip(self._layer.inputs, self._layer.before, strict=True):
            if not _same(buffer.values, before):
                return Checked("wrote into an input", tainted=True)
        for buffer, before in zip(self._weights, self._before, strict=True):
            if not _same(buffer.values, before):
                return Checked("wrote into the weights", tainted=True)
        error = relative_error(self._layer.delivered(self._output), self._layer.case.output)
        return Checked() if error <= TOLERANCE else Checked(f"relative error {error:.3g}, allowed is {TOLERANCE:g}")


def _same(one: Array, other: Array) -> bool:
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))
