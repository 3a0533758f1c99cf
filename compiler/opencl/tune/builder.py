"""GPU kernels for the process that runs them: candidates to OpenCL C, and PoCL's compiler over it, in workers."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.opencl.kernels import cached_kernel
from mnv3c.compiler.opencl.program import GpuKernel
from mnv3c.compiler.opencl.target import OpenClTarget
from mnv3c.compiler.opencl.tune.pocl import Pocl
from mnv3c.compiler.opencl.tune.runner import use_pocl
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import Candidate


@dataclass(frozen=True)
class GpuJob:
    """A candidate to be written for a device, and compiled."""

    target: OpenClTarget[Any]
    device: Device
    candidate: Candidate
    cache: FileCache


class Builder:
    """Builds one kernel. PoCL finds again what it compiled, since all processes of a run share its cache."""

    def __init__(self) -> None:
        self._pocl: Pocl | None = None

    def __call__(self, job: GpuJob) -> GpuKernel:
        """The kernel. Raises whatever the candidate, TVM or PoCL's compiler raises."""
        self._pocl = self._pocl or Pocl()
        kernel = cached_kernel(job.candidate, job.target, job.device, job.cache)
        self._pocl.kernel(kernel.source, kernel.name)
        return kernel


def make_builder(cache: Path) -> Builder:
    """What a worker process answers with. TVM is imported before any time is taken."""
    use_pocl(cache)
    import_module("tvm")
    return Builder()
