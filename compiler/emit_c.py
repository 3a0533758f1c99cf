"""Print a `Program` as C: NAME.c with its static tables, NAME.h with its public functions, and the data beside them.

The tables are walked by `runtime/engine.c`; `runtime/engine.h` says what each field means.
"""

from collections.abc import Iterator, Sequence

from mnv3c.compiler import c_network, c_text
from mnv3c.compiler.layout import OutputLayout, verify
from mnv3c.compiler.program import Argument, Call, Program, Region

_HALF_WEIGHTS = "HALF_WEIGHTS"


def emit_program(program: Program) -> str:
    """Return NAME.c: one table row and one comment per layer, and the public functions of NAME.h.

    Raises what `layout.verify` raises for a program that breaks the rules.
    """
    verify(program)
    layout = OutputLayout.of(program)
    sections = (
        _preamble(program),
        _memory(program, layout),
        _views(program, layout),
        _kernels(program),
        _arguments(program, layout),
        _layer_table(program),
        _network(program, layout),
        c_network.functions(program.name),
    )
    return "\n".join("\n".join(lines) + "\n" for lines in sections)


def emit_header(program: Program) -> str:
    """Return NAME.h, the public interface in plain C that C++ takes too. Raises as `emit_program` does."""
    verify(program)
    return c_network.header(c_network.HEADER, program.name, program.input, program.outputs)


def emit_blob(symbol: str, file_name: str, digest: str) -> str:
    """Return assembly, for every ELF processor, that puts a file into read-only data as `symbol`, 64-byte aligned.

    `digest` identifies the file's contents: the assembler's cache looks at this text, not at the file it includes.
    """
    return f"""\
/* {file_name}: sha256 {digest} */
    .section .rodata.{symbol}, "a", %progbits
    .globl {symbol}
    .hidden {symbol}
    .type {symbol}, %object
    .balign 64
{symbol}:
    .incbin "{file_name}"
    .size {symbol}, . - {symbol}

    .section .note.GNU-stack, "", %progbits
"""


def emit_check(seed: int, tolerance: float) -> str:
    """Return the C that tells the bench which `check_input` to use, and what relative error passes."""
    return f"""\
#include "check.h"

const uint64_t mnv3c_check_seed = {seed}u;
const double mnv3c_check_tolerance = {tolerance!r};
"""


def _preamble(program: Program) -> Iterator[str]:
    macs = sum(call.macs for call in program.calls)
    yield f"/* {program.name}: {len(program.calls)} layers, {macs} MACs, {program.weights_bytes} bytes of weights."
    yield " *"
    yield " * Written by mnv3c; do not edit. engine.h explains the tables."
    yield " */"
    yield f'#include "{program.name}.h"'
    yield ""
    yield '#include "engine.h"'


def _memory(program: Program, layout: OutputLayout) -> Iterator[str]:
    yield "/* The activations of all layers, and stand-ins for caller's buffers that are not aligned. */"
    sizes = (("arena", max(program.arena_bytes, 1)), ("input_copy", program.input.elements * 4))
    for name, size in (*sizes, ("output_copy", layout.copy_bytes)):
        yield f"static _Alignas(MNV3C_ALIGNMENT_BYTES) unsigned char {name}[{size}];"


def _view_list(program: Program, region: Region) -> list[Argument]:
    """List the distinct views of the caller's input or output, in order of first use."""
    arguments = (argument for call in program.calls for argument in call.arguments)
    return list(dict.fromkeys(argument for argument in arguments if argument.region is region))


def _views(program: Program, layout: OutputLayout) -> Iterator[str]:
    yield "/* The parts of the caller's buffers that kernels touch: byte offset, and the tensor that each run binds. */"
    for region in (Region.INPUT, Region.OUTPUT):
        yield f"static View {region}_views[] = {{"
        for view in _view_list(program, region):
            offset_bytes = layout.to_aligned(view.offset_bytes) if region is Region.OUTPUT else view.offset_bytes
            yield f"    {{{offset_bytes}, MNV3C_FLOATS(NULL, {view.elements})}},"
        yield "};"


def _kernels(program: Program) -> Iterator[str]:
    yield "/* The kernels, each compiled by TVM into an object file. */"
    for symbol in dict.fromkeys(call.symbol for call in program.calls):
        yield f"extern TVMKernel __tvm_ffi_{symbol};"


def _argument(argument: Argument, views: Sequence[Argument]) -> str:
    if argument.region in (Region.INPUT, Region.OUTPUT):
        return f"{argument.region.upper()}({views.index(argument)})"
    macro = _HALF_WEIGHTS if argument.dtype == "float16" else argument.region.upper()
    return f"{macro}({argument.offset_bytes}, {argument.elements})"


def _arguments(program: Program, layout: OutputLayout) -> Iterator[str]:
    yield "/* Arguments of each layer's kernel: a part of the caller's buffers, or byte offset and number of floats. */"
    yield "#define INPUT(view) MNV3C_ARGUMENT(&input_views[view].tensor)"
    yield "#define OUTPUT(view) MNV3C_ARGUMENT(&output_views[view].tensor)"
    yield "#define ARENA(offset, elements) MNV3C_BUFFER(arena + (offset), elements)"
    yield "#define WEIGHTS(offset, elements) MNV3C_BUFFER(mnv3c_weights + (offset), elements)"
    if any(argument.dtype == "float16" for call in program.calls for argument in call.arguments):
        yield f"#define {_HALF_WEIGHTS}(offset, elements) MNV3C_HALVES(mnv3c_weights + (offset), elements)"
    views = {region: _view_list(program, region) for region in Region}
    for index, call in enumerate(program.calls):
        yield ""
        yield f"/* {index}: {c_text.comment(_summary(call))} */"
        arguments = ", ".join(_argument(argument, views[argument.region]) for argument in call.arguments)
        yield f"static const TVMFFIAny layer_{index}[] = {{{arguments}}};"


def _summary(call: Call) -> str:
    return f"{call.layer}, {call.kind} {call.shape}, {call.macs} MACs"


def _layer_table(program: Program) -> Iterator[str]:
    yield "/* Name, kind, shape, MACs, kernel, arguments and their number. */"
    yield "static const Layer layers[] = {"
    for index, call in enumerate(program.calls):
        texts = ", ".join(c_text.string(text) for text in (call.layer, call.kind, call.shape))
        kernel = f"__tvm_ffi_{call.symbol}, layer_{index}, {len(call.arguments)}"
        yield f"    {{{texts}, {call.macs}, {kernel}}},"
    yield "};"


def _network(program: Program, layout: OutputLayout) -> Iterator[str]:
    yield from c_network.output_ports(program.outputs, layout)
    yield ""
    yield "const Network mnv3c_network = {"
    yield from c_network.fields(
        (
            ("name", c_text.string(program.name)),
            ("input", c_network.port(program.input, 0, 0)),
            ("outputs", "outputs"),
            ("output_count", len(program.outputs)),
            ("outputs_aligned", int(layout.dense == layout.aligned)),
            ("input_views", "input_views"),
            ("input_view_count", len(_view_list(program, Region.INPUT))),
            ("output_views", "output_views"),
            ("output_view_count", len(_view_list(program, Region.OUTPUT))),
            ("input_copy", "input_copy"),
            ("output_copy", "output_copy"),
            ("tiles", int(program.tiles)),
            ("layers", "layers"),
            ("layer_count", len(program.calls)),
        )
    )
    yield "};"
