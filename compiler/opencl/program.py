"""The program of a network on a GPU: which OpenCL kernels run, in which order, on which memory.

Everything here is plain data, as in `compiler.program`; `emit` prints it, `link` turns it into files.

Memory is four `cl_mem`: the input and the outputs as the caller has them (dense float32, each output from a multiple
of `BUFFER_ALIGNMENT_BYTES`), one arena of activations and one buffer of packed weights. A kernel's arguments are
sub-buffers of these, so their offsets are multiples of `BUFFER_ALIGNMENT_BYTES`.
"""

import re
from dataclasses import dataclass
from typing import Literal

from mnv3c.compiler.program import Argument, Port

Size = tuple[int, int, int]
Storage = Literal["fp32", "fp16"]
# Of the largest value. What halves cost: 2^-11 for each value stored, some of which add up over the layers.
HALF_TOLERANCE = 2e-2

# CL_DEVICE_MEM_BASE_ADDR_ALIGN is 128 bytes on Adreno, Mali and PoCL and 512 on desktop GPUs; the program asks the
# device and refuses to run on one that wants more than this.
BUFFER_ALIGNMENT_BYTES = 1024
# What every driver of mobile GPUs takes. Contracting a * b + c doubles the arithmetic rate of GPUs.
BUILD_OPTIONS = "-cl-std=CL1.2 -cl-mad-enable"
_FIXING = re.compile(
    r"\b(?:barrier|work_group_\w+|sub_group_\w+|get_local_size|get_num_groups|reqd_work_group_size|__local|local)\b"
)


@dataclass(frozen=True)
class GpuKernel:
    """One OpenCL kernel.

    `source` is self-contained OpenCL C with exactly one `__kernel` function, called `name`, whose parameters are
    `__global` pointers alone, in the order of the arguments of the calls. What stands before `__kernel` (pragmas) may
    be the same in several kernels. `global_size` counts work items, not groups, and is a multiple of `local_size`.
    """

    name: str
    source: str
    global_size: Size
    local_size: Size

    @property
    def movable(self) -> bool:
        """Whether any other work-group size gives the same results: nothing is shared or awaited within a group.

        The kernel may still use `get_group_id` and `get_local_id`: `source` derives them from the global id.
        """
        return _FIXING.search(self.source) is None


@dataclass(frozen=True)
class GpuCall:
    """One layer: one launch of one kernel; several calls may share it. `bytes` is the global-memory traffic."""

    layer: str
    kind: str
    shape: str
    kernel: str
    arguments: tuple[Argument, ...]
    macs: int
    bytes: int


@dataclass(frozen=True)
class GpuProgram:
    """A network ready to be printed as OpenCL C and C.

    `name` is a C identifier and prefixes every public symbol. There is exactly one input. `storage` says how
    activations and weights lie in memory; the caller's tensors are float32 in any case.
    """

    name: str
    input: Port
    outputs: tuple[Port, ...]
    kernels: tuple[GpuKernel, ...]
    calls: tuple[GpuCall, ...]
    arena_bytes: int
    weights_bytes: int
    storage: Storage = "fp32"
    build_options: str = BUILD_OPTIONS

    def kernel(self, name: str) -> GpuKernel:
        """The kernel of that name. Raises KeyError."""
        return {kernel.name: kernel for kernel in self.kernels}[name]
