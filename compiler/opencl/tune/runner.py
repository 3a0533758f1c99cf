"""What happens inside the process that runs GPU kernels through PoCL: it checks what they compute, and times them.

As in `compiler.tune.runner`, but nothing floods the caches: a kernel is launched twice and the second launch counts,
since a CPU's caches are none of the GPU's.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnv3c.compiler.opencl.program import HALF_TOLERANCE, GpuKernel
from mnv3c.compiler.opencl.target import OpenClTarget
from mnv3c.compiler.opencl.tune.pocl import Pocl, Values
from mnv3c.compiler.tune.case import Case, relative_error
from mnv3c.compiler.tune.runner import TOLERANCE
from mnv3c.compiler.tune.turns import Checked, TurnHandler
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.target import Candidate, Storage

# Of memory that every device aligns sub-buffers by.
_GUARD_BYTES = 4096
_GUARD = 0xA5


@dataclass(frozen=True)
class GpuTrialKernel:
    """A candidate and its kernel."""

    kernel: GpuKernel
    candidate: Candidate


@dataclass(frozen=True)
class GpuSetup:
    """A layer ready to be measured: a number of its own, its values, and the target, which says how they are stored.

    Its inputs are stored where `storage` says so, else as the caller hands them over; `output_elements` are stored.
    """

    number: int
    case: Path
    target: OpenClTarget[Any]
    storage: tuple[Storage, ...]
    output: TensorType
    output_elements: int


def use_pocl(cache: Path) -> None:
    """Let PoCL keep what it compiles in a folder; before it is loaded. The workers of a run share it."""
    os.environ["POCL_CACHE_DIR"] = str(cache)
    # pyopencl's own cache of programs is the user's, and these are not worth keeping.
    os.environ["PYOPENCL_NO_CACHE"] = "1"


class PoclRunner:
    """Answers requests; None as a request asks for PoCL's version."""

    def __init__(self) -> None:
        self._pocl: Pocl | None = None
        self._turns = TurnHandler[GpuSetup, GpuTrialKernel](lambda setup: _Layer(self._opened(), setup))

    def __call__(self, request: Any) -> Any:
        """The answer."""
        return self._opened().version if request is None else self._turns(request)

    def _opened(self) -> Pocl:
        # Not before a request: only then does a MissingError arrive as one.
        self._pocl = self._pocl or Pocl()
        return self._pocl


def make_runner(cache: Path) -> PoclRunner:
    """What the process answers with."""
    use_pocl(cache)
    return PoclRunner()


class _Guarded:
    """Values on the device, between guards that no kernel may touch."""

    def __init__(self, pocl: Pocl, values: Values) -> None:
        self._pocl, self._edge = pocl, _GUARD_BYTES // values.itemsize
        self.before = np.full(values.nbytes + 2 * _GUARD_BYTES, _GUARD, np.uint8).view(values.dtype)
        self.before[self._edge : -self._edge] = values.ravel()
        self._buffer = pocl.buffer(self.before)
        self.part = self._buffer.get_sub_region(_GUARD_BYTES, values.nbytes)

    def reset(self) -> None:
        """As it was."""
        self._pocl.write(self._buffer, self.before)

    def values(self) -> Values:
        """What lies between the guards."""
        return self._pocl.read(self._buffer, self.before)[self._edge : -self._edge]

    def intact(self) -> tuple[bool, bool]:
        """Whether the guards are as they were, and whether all of it is."""
        now, before = (array.view(np.uint8) for array in (self._pocl.read(self._buffer, self.before), self.before))
        edges = np.concatenate([now[:_GUARD_BYTES], now[-_GUARD_BYTES:]])
        return bool((edges == _GUARD).all()), np.array_equal(now, before)


class _Layer:
    def __init__(self, pocl: Pocl, setup: GpuSetup) -> None:
        self.pocl, self.setup = pocl, setup
        self._kernels: dict[str, Any] = {}
        self.case = Case.load(setup.case)
        given = zip(self.case.inputs, setup.storage, strict=True)
        arrays = (setup.target.stored(x) if storage == "target" else x for x, storage in given)
        self.inputs = [_Guarded(pocl, array) for array in arrays]
        self._empty = np.full(setup.output_elements, np.nan, np.float16 if self._halves else np.float32)

    def kernel(self, kernel: GpuTrialKernel) -> "_Kernel":
        return _Kernel(self, kernel)

    def launch(self, kernel: GpuKernel, arguments: list[Any]) -> tuple[Any, ...]:
        """As `Pocl.time_us` takes it; built unless it is."""
        if kernel.name not in self._kernels:
            self._kernels[kernel.name] = self.pocl.kernel(kernel.source, kernel.name)
        return self._kernels[kernel.name], kernel.global_size, kernel.local_size, arguments

    def empty(self) -> _Guarded:
        """An output of NaN."""
        return _Guarded(self.pocl, self._empty)

    def problem(self, output: _Guarded) -> str:
        """What is wrong with an output, if anything."""
        values = output.values()
        error = relative_error(self.setup.target.unstored(values, self.setup.output), self.case.output)
        allowed = HALF_TOLERANCE if self._halves else TOLERANCE
        if not error <= allowed:
            return f"relative error {error:.3g}, allowed is {allowed:g}"
        # The next layer multiplies padding by zero, which helps with numbers alone.
        return "" if np.isfinite(values).all() else "a lane of padding is not finite"

    @property
    def _halves(self) -> bool:
        return self.setup.target.precision.storage == "fp16"


class _Kernel:
    def __init__(self, layer: _Layer, kernel: GpuTrialKernel) -> None:
        self._layer = layer
        packed = (np.ascontiguousarray(array) for array in kernel.candidate.pack(layer.case.weights))
        self._weights = [_Guarded(layer.pocl, array) for array in packed]
        self._output = layer.empty()
        arguments = [each.part for each in (*layer.inputs, *self._weights, self._output)]
        self._launch: Any = layer.launch(kernel.kernel, arguments)

    def run(self) -> float:
        """Launch the kernel twice; the microseconds of the second time."""
        self._layer.pocl.time_us([self._launch])
        return self._layer.pocl.time_us([self._launch])

    def check_again(self) -> Checked:
        """As `check`, of one more launch, without the output of those before."""
        self._output.reset()
        self._layer.pocl.time_us([self._launch])
        return self.check()

    def check(self) -> Checked:
        """What the launches so far have done wrong."""
        given = {"an input": self._layer.inputs, "the weights": self._weights}
        for name, guarded in given.items():
            for edges, all_of_it in (each.intact() for each in guarded):
                if not edges:
                    return Checked(f"wrote outside {name}", tainted=True)
                if not all_of_it:
                    return Checked(f"wrote into {name}", tainted=True)
        if not self._output.intact()[0]:
            return Checked("wrote outside the output", tainted=True)
        return Checked(self._layer.problem(self._output))
