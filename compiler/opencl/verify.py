"""Whether a GPU program keeps the rules that the engine relies on."""

import re
from collections import Counter

from mnv3c.compiler import c_text
from mnv3c.compiler.layout import FLOAT_BYTES, OutputLayout, require_name
from mnv3c.compiler.opencl.program import BUFFER_ALIGNMENT_BYTES, GpuCall, GpuKernel, GpuProgram
from mnv3c.compiler.program import Argument, Region

_SIGNATURE = re.compile(r"__kernel\s[^(]*(?:__attribute__\s*\(\(.*?\)\)\s*)?[^(]*\b(\w+)\s*\(([^)]*)\)", re.DOTALL)


def output_layout(program: GpuProgram) -> OutputLayout:
    """Where the outputs lie in the caller's buffer, and in the device's (`aligned`)."""
    return OutputLayout.of(program, BUFFER_ALIGNMENT_BYTES)


def verify(program: GpuProgram) -> None:
    """Raise for a program that cannot become a correct library.

    Raises `UserError` for a name that C does not accept, and `ValueError`, a defect of ours, for a kernel that does not
    fit its description or its calls, for a buffer that leaves its region or is not aligned, and where no kernel touches
    the input or the output.
    """
    require_name(program.name)
    twice = [name for name, count in Counter(kernel.name for kernel in program.kernels).items() if count > 1]
    if twice:
        raise ValueError(f"kernel {twice[0]} is there twice")
    parameters = {kernel.name: _parameters(kernel) for kernel in program.kernels}
    called = {call.kernel for call in program.calls}
    if called != set(parameters):
        raise ValueError(f"kernels without calls, or calls without kernels: {sorted(called ^ set(parameters))}")
    layout = output_layout(program)
    for call in program.calls:
        if len(call.arguments) != parameters[call.kernel]:
            raise ValueError(
                f"layer {call.layer}: {len(call.arguments)} arguments, kernel {call.kernel} takes"
                f" {parameters[call.kernel]}"
            )
        for argument in call.arguments:
            _verify_argument(program, layout, call, argument)
    touched = {argument.region for call in program.calls for argument in call.arguments}
    if not {Region.INPUT, Region.OUTPUT} <= touched:
        raise ValueError(f"{program.name}: no kernel reads the input, or none writes the output")


def _parameters(kernel: GpuKernel) -> int:
    """How many buffers the kernel takes."""
    if not c_text.is_identifier(kernel.name):
        raise ValueError(f"kernel {kernel.name!r} is no C identifier")
    for total, group in zip(kernel.global_size, kernel.local_size, strict=True):
        if group < 1 or total < 1 or total % group:
            raise ValueError(
                f"kernel {kernel.name}: work-group {kernel.local_size} does not divide {kernel.global_size}"
            )
    found = [(match[1], match[2]) for match in _SIGNATURE.finditer(kernel.source)]
    if [name for name, _ in found] != [kernel.name]:
        raise ValueError(f"kernel {kernel.name}: its source defines {[name for name, _ in found]}")
    parameters = found[0][1].split(",")
    if not all(re.search(r"\b(?:__)?global\b", parameter) for parameter in parameters):
        raise ValueError(f"kernel {kernel.name}: takes something else than __global pointers")
    return len(parameters)


def _verify_argument(program: GpuProgram, layout: OutputLayout, call: GpuCall, argument: Argument) -> None:
    size = {
        Region.INPUT: program.input.elements * FLOAT_BYTES,
        Region.OUTPUT: sum(port.elements for port in program.outputs) * FLOAT_BYTES,
        Region.ARENA: program.arena_bytes,
        Region.WEIGHTS: program.weights_bytes,
    }[argument.region]
    if argument.offset_bytes < 0 or argument.elements < 1 or argument.offset_bytes + argument.size_bytes > size:
        raise ValueError(f"layer {call.layer}: {argument} leaves its region of {size} bytes")
    callers = argument.region in (Region.INPUT, Region.OUTPUT)
    if argument.dtype != "float32" and (callers or program.storage == "fp32"):
        raise ValueError(f"layer {call.layer}: {argument} is not float32")
    offset_bytes = argument.offset_bytes
    if argument.region is Region.OUTPUT:
        offset_bytes = layout.to_aligned(offset_bytes)
        last = argument.offset_bytes + argument.size_bytes - 1
        if layout.to_aligned(last) - offset_bytes != last - argument.offset_bytes:
            raise ValueError(f"layer {call.layer}: {argument} spans two outputs")
    if offset_bytes % BUFFER_ALIGNMENT_BYTES:
        raise ValueError(f"layer {call.layer}: {argument} is not {BUFFER_ALIGNMENT_BYTES}-byte aligned")
