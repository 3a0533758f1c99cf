"""Print a `GpuProgram` as C: NAME.c with its static tables, NAME.h with its public functions.

The tables are walked by `runtime/gpu_run.c`; `runtime/gpu_network.h` says what each field means.
"""

from collections.abc import Iterator
from pathlib import Path

from mnv3c.compiler import c_network, c_text
from mnv3c.compiler.layout import OutputLayout
from mnv3c.compiler.opencl.program import GpuProgram, Size
from mnv3c.compiler.opencl.source import SourceText
from mnv3c.compiler.opencl.verify import output_layout, verify
from mnv3c.compiler.program import Argument, Region

_HALF_ARITHMETIC = "cl_khr_fp16"
_HEADER = Path(__file__).with_name("runtime") / "gpu_header.h.in"


def emit_gpu_program(program: GpuProgram, source: SourceText) -> str:
    """Return NAME.c: one table row per kernel, per view and per layer, and the public functions of NAME.h.

    Raises what `verify` raises for a program that breaks the rules.
    """
    verify(program)
    layout = output_layout(program)
    views = _views(program, layout)
    sections = (
        _preamble(program),
        _kernel_table(program, source),
        _view_table(views),
        _call_tables(program, layout, views),
        _network(program, layout),
        _gpu(program, source, layout, views),
        c_network.functions(program.name),
    )
    return "\n".join("\n".join(lines) + "\n" for lines in sections)


def emit_gpu_header(program: GpuProgram) -> str:
    """Return NAME.h, the public interface in plain C that C++ takes too. Raises as `emit_gpu_program` does."""
    verify(program)
    return c_network.header(_HEADER, program.name, program.input, program.outputs)


def _view(argument: Argument, layout: OutputLayout) -> tuple[Region, int, int]:
    """Region, offset on the device, bytes."""
    outputs = argument.region is Region.OUTPUT
    offset_bytes = layout.to_aligned(argument.offset_bytes) if outputs else argument.offset_bytes
    return argument.region, offset_bytes, argument.size_bytes


def _views(program: GpuProgram, layout: OutputLayout) -> list[tuple[Region, int, int]]:
    """The distinct ones in order of first use."""
    return list(dict.fromkeys(_view(argument, layout) for call in program.calls for argument in call.arguments))


def _preamble(program: GpuProgram) -> Iterator[str]:
    macs = sum(call.macs for call in program.calls)
    yield f"/* {program.name}: {len(program.calls)} layers, {macs} MACs, {program.weights_bytes} bytes of weights."
    yield " *"
    yield " * Written by mnv3c; do not edit. engine.h and gpu_network.h explain the tables."
    yield " */"
    yield f'#include "{program.name}.h"'
    yield ""
    yield '#include "engine.h"'
    yield '#include "gpu_network.h"'


def _kernel_table(program: GpuProgram, source: SourceText) -> Iterator[str]:
    yield "/* Name, work items, work-group, whether another would do, place in the source. */"
    yield "static const GpuKernel kernels[] = {"
    for kernel in program.kernels:
        sizes = f"{_braced(kernel.global_size)}, {_braced(kernel.local_size)}"
        offset, size = source.spans[kernel.name]
        yield f'    {{"{kernel.name}", {sizes}, {int(kernel.movable)}, {offset}, {size}}},'
    yield "};"


def _braced(size: Size) -> str:
    return "{" + ", ".join(map(str, size)) + "}"


def _view_table(views: list[tuple[Region, int, int]]) -> Iterator[str]:
    yield "/* The parts of the device's memory that kernels touch: region, byte offset, bytes. */"
    yield "static const GpuView views[] = {"
    yield from (f"    {{GPU_{region.upper()}, {offset}, {size}}}," for region, offset, size in views)
    yield "};"


def _call_tables(program: GpuProgram, layout: OutputLayout, views: list[tuple[Region, int, int]]) -> Iterator[str]:
    positions = {view: index for index, view in enumerate(views)}
    numbers = {kernel.name: index for index, kernel in enumerate(program.kernels)}
    yield "/* Name, kind, shape, MACs; there are no kernels of TVM here. */"
    yield "static const Layer layers[] = {"
    for call in program.calls:
        texts = ", ".join(c_text.string(text) for text in (call.layer, call.kind, call.shape))
        yield f"    {{{texts}, {call.macs}, NULL, NULL, 0}},"
    yield "};"
    yield ""
    yield "/* For each layer: kernel, arguments as numbers of views, their number, bytes read and written. */"
    yield "static const GpuCall calls[] = {"
    for call in program.calls:
        arguments = ", ".join(str(positions[_view(argument, layout)]) for argument in call.arguments)
        yield f"    {{{numbers[call.kernel]}, (const int[]){{{arguments}}}, {len(call.arguments)}, {call.bytes}}},"
    yield "};"


def _network(program: GpuProgram, layout: OutputLayout) -> Iterator[str]:
    yield from c_network.output_ports(program.outputs, layout)
    yield ""
    yield "const Network mnv3c_network = {"
    yield from c_network.fields(
        (
            ("name", c_text.string(program.name)),
            ("input", c_network.port(program.input, 0, 0)),
            ("outputs", "outputs"),
            ("output_count", len(program.outputs)),
            ("layers", "layers"),
            ("layer_count", len(program.calls)),
        )
    )
    yield "};"


def _gpu(
    program: GpuProgram, source: SourceText, layout: OutputLayout, views: list[tuple[Region, int, int]]
) -> Iterator[str]:
    sizes = (program.input.elements * 4, layout.copy_bytes, program.arena_bytes, program.weights_bytes)
    yield "const GpuNetwork mnv3c_gpu = {"
    yield from c_network.fields(
        (
            ("kernels", "kernels"),
            ("kernel_count", len(program.kernels)),
            ("views", "views"),
            ("view_count", len(views)),
            ("calls", "calls"),
            ("region_bytes", "{" + ", ".join(map(str, sizes)) + "}"),
            ("storage", c_text.string(program.storage)),
            ("half_arithmetic", int(any(_HALF_ARITHMETIC in kernel.source for kernel in program.kernels))),
            ("build_options", c_text.string(program.build_options)),
            ("source_digest", c_text.string(source.digest)),
            ("source_bytes", source.bytes),
            ("preamble_bytes", source.preamble_bytes),
        )
    )
    yield "};"
