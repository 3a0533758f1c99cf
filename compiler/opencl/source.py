"""NAME.cl: the kernels of a program as one readable OpenCL source."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mnv3c.compiler import c_text
from mnv3c.compiler.opencl.program import GpuKernel, GpuProgram

_KERNEL = "__kernel"
_IDS = re.compile(r"\bget_(group|local)_id\b")


@dataclass(frozen=True)
class SourceText:
    """The text, and which of its bytes are which kernel's: (offset, bytes). The first `preamble_bytes` serve all."""

    text: str
    preamble_bytes: int
    spans: Mapping[str, tuple[int, int]]

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return len(self.text.encode())

    @property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def kernel_source(program: GpuProgram) -> SourceText:
    """One source of all kernels, in the order of the program, each with a comment that says which layers it computes.

    What the kernels' own sources have before `__kernel` comes first, each distinct text once.
    """
    parts = [_split(kernel) for kernel in program.kernels]
    preambles = dict.fromkeys(before for before, _ in parts if before)
    text = "\n\n".join([f"/* The kernels of {program.name}, written by mnv3c; do not edit. */", *preambles]) + "\n"
    preamble_bytes = len(text.encode())
    spans: dict[str, tuple[int, int]] = {}
    for kernel, (_, body) in zip(program.kernels, parts, strict=True):
        part = _part(program, kernel, body)
        spans[kernel.name] = (len(text.encode()), len(part.encode()))
        text += part
    return SourceText(text, preamble_bytes, spans)


def _split(kernel: GpuKernel) -> tuple[str, str]:
    before, _, after = kernel.source.partition(_KERNEL)
    return before.strip(), f"{_KERNEL}{after.rstrip()}"


def _part(program: GpuProgram, kernel: GpuKernel, body: str) -> str:
    layers = [call.layer for call in program.calls if call.kernel == kernel.name]
    sizes = f"{_times(kernel.global_size)} work items by {_times(kernel.local_size)}"
    head = f"\n/* {kernel.name}: {sizes}\n * {c_text.comment(', '.join(layers))} */\n"
    if not kernel.movable:
        return f"{head}{body}\n"
    # The group and the place in it that the kernel was written for, whatever the work-group it is launched with. Names
    # of our own: a driver may have macros for OpenCL's.
    group = _choice(kernel.local_size)
    return (
        f"{head}#define group_id(d) ((uint)get_global_id(d) / {group})\n"
        f"#define local_id(d) ((uint)get_global_id(d) % {group})\n"
        f"{_IDS.sub(lambda match: f'{match[1]}_id', body)}\n#undef group_id\n#undef local_id\n"
    )


def _choice(size: tuple[int, int, int]) -> str:
    return f"((d) == 0 ? {size[0]}u : (d) == 1 ? {size[1]}u : {size[2]}u)"


def _times(size: tuple[int, int, int]) -> str:
    return " x ".join(map(str, size))
