"""Where the outputs lie in the caller's buffer and in the aligned copy of it; and whether a program keeps the rules."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from mnv3c.compiler import c_text
from mnv3c.compiler.program import Argument, Call, Port, Program, Region
from mnv3c.graph.errors import UserError

ALIGNMENT_BYTES = 64  # what TVM's kernels assume of every buffer
FLOAT_BYTES = 4


def align(offset_bytes: int, alignment_bytes: int = ALIGNMENT_BYTES) -> int:
    """Return the next multiple of `alignment_bytes` that is not below `offset_bytes`."""
    return -(-offset_bytes // alignment_bytes) * alignment_bytes


class HasOutputs(Protocol):
    """A program of any kind."""

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What the caller gets, one after another in one buffer."""


@dataclass(frozen=True)
class OutputLayout:
    """Byte offsets of each output: `dense` in the caller's buffer, `aligned` in the copy; and the copy's size."""

    dense: tuple[int, ...]
    aligned: tuple[int, ...]
    copy_bytes: int

    @staticmethod
    def of(program: HasOutputs, alignment_bytes: int = ALIGNMENT_BYTES) -> "OutputLayout":
        """Lay the program's outputs out one after another, without and with padding to `alignment_bytes`."""
        sizes = [port.elements * FLOAT_BYTES for port in program.outputs]
        dense = (0, *accumulate(sizes))
        aligned = (0, *accumulate(align(size, alignment_bytes) for size in sizes))
        return OutputLayout(dense[:-1], aligned[:-1], aligned[-1])

    def to_aligned(self, offset_bytes: int) -> int:
        """Translate an offset into the caller's buffer to one into the copy."""
        index = max(index for index, start in enumerate(self.dense) if start <= offset_bytes)
        return self.aligned[index] + offset_bytes - self.dense[index]


def require_name(name: str) -> None:
    """Raise UserError for a program's name that C does not accept, or that the runtime keeps to itself."""
    if not c_text.is_identifier(name) or name.startswith("mnv3c_"):
        raise UserError(
            f"name {name!r}: it prefixes C functions; use letters, digits and _, no digit first, not mnv3c_..."
        )


def verify(program: Program) -> None:
    """Raise for a program that cannot become a correct library.

    Raises `UserError` for a name that C does not accept, and `ValueError`, a defect of the planner, when a buffer
    leaves its region, is not 64-byte aligned or is float16 outside the weights, when a kernel's name is no identifier,
    or when no kernel touches the input or the output.
    """
    require_name(program.name)
    layout = OutputLayout.of(program)
    touched: set[Region] = set()
    for call in program.calls:
        if not c_text.is_identifier(call.symbol):
            raise ValueError(f"layer {call.layer}: kernel {call.symbol!r} is no C identifier")
        for argument in call.arguments:
            _verify_argument(program, layout, call, argument)
            touched.add(argument.region)
    if not {Region.INPUT, Region.OUTPUT} <= touched:
        raise ValueError(f"{program.name}: no kernel reads the input, or none writes the output")


def _verify_argument(program: Program, layout: OutputLayout, call: Call, argument: Argument) -> None:
    size = {
        Region.INPUT: program.input.elements * FLOAT_BYTES,
        Region.OUTPUT: sum(port.elements for port in program.outputs) * FLOAT_BYTES,
        Region.ARENA: program.arena_bytes,
        Region.WEIGHTS: program.weights_bytes,
    }[argument.region]
    end = argument.offset_bytes + argument.size_bytes
    if argument.offset_bytes < 0 or argument.elements < 1 or end > size:
        raise ValueError(f"layer {call.layer}: {argument} leaves its region of {size} bytes")
    if argument.dtype != "float32" and argument.region is not Region.WEIGHTS:
        raise ValueError(f"layer {call.layer}: {argument} is not float32")
    outputs = argument.region is Region.OUTPUT
    offset_bytes = layout.to_aligned(argument.offset_bytes) if outputs else argument.offset_bytes
    if outputs and layout.to_aligned(end - 1) - offset_bytes != end - 1 - argument.offset_bytes:
        raise ValueError(f"layer {call.layer}: {argument} spans two outputs")
    if offset_bytes % ALIGNMENT_BYTES:
        raise ValueError(f"layer {call.layer}: {argument} is not {ALIGNMENT_BYTES}-byte aligned")
