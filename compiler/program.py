"""The program of a compiled network: which kernels are called, in which order, on which memory.

Everything here is plain data. `emit_c` prints it as C, `link` turns it into files; neither needs TVM.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Region(StrEnum):
    """The four places a kernel's argument can live."""

    INPUT = "input"  # the caller's input, or the aligned copy of it
    OUTPUT = "output"  # the caller's output, or the aligned copy of it
    ARENA = "arena"  # activations, planned statically
    WEIGHTS = "weights"  # packed constants inside the library


@dataclass(frozen=True)
class Argument:
    """A flat buffer handed to a kernel: `elements` values from `offset_bytes` into `region`.

    Only weights can be float16.
    """

    region: Region
    offset_bytes: int
    elements: int
    dtype: Literal["float32", "float16"] = "float32"

    @property
    def size_bytes(self) -> int:
        """Bytes of the buffer."""
        return self.elements * (2 if self.dtype == "float16" else 4)


@dataclass(frozen=True)
class Call:
    """One layer: one call of one kernel.

    `symbol` is the kernel's name without TVM's `__tvm_ffi_` prefix; several calls may share it.
    `shape` and `kind` are for people (comments in the C, rows of `--profile`).
    """

    layer: str
    kind: str
    shape: str
    symbol: str
    arguments: tuple[Argument, ...]
    macs: int


@dataclass(frozen=True)
class Port:
    """An input or output as the user of the C API sees it: a dense row-major float32 tensor."""

    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of float32 values."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True)
class Program:
    """A network ready to be printed as C.

    `name` is a C identifier and prefixes every public symbol. There is exactly one input; several outputs lie one after
    another in the caller's output buffer, each at the `offset_bytes` that its port's position gives
    (sum of the sizes before it). `tiles`: kernels use the tile registers of x86_64, which a process has to ask for.
    """

    name: str
    input: Port
    outputs: tuple[Port, ...]
    calls: tuple[Call, ...]
    arena_bytes: int
    weights_bytes: int
    tiles: bool = False
