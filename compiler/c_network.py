"""What the C of every kind of program has in common: its ports, its header and its public functions."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mnv3c.compiler import c_text
from mnv3c.compiler.layout import OutputLayout
from mnv3c.compiler.program import Port

_RUNTIME = Path(__file__).with_name("runtime")
HEADER = _RUNTIME / "header.h.in"


def header(template: Path, name: str, given: Port, outputs: Sequence[Port]) -> str:
    """NAME.h: the template's own part, then the functions that describe ports and layers."""
    values = {
        "NAME": name,
        "UPPER_NAME": name.upper(),
        "INPUT": _describe(given),
        "INPUT_ELEMENTS": str(given.elements),
        "OUTPUTS": "\n".join(f" *   {_describe(port)}" for port in outputs),
        "OUTPUT_ELEMENTS": str(sum(port.elements for port in outputs)),
    }
    return _fill(template, values) + _fill(_RUNTIME / "accessors.h.in", values)


def functions(name: str) -> Iterator[str]:
    """The lines that define the functions of NAME.h by those of the engine."""
    return iter(_fill(_RUNTIME / "functions.c.in", {"NAME": name}).splitlines())


def port(port: Port, offset_bytes: int, copy_offset_bytes: int) -> str:
    """The initialiser of a Port of engine.h."""
    shape = f"{len(port.shape)}, {c_text.int64_array(port.shape)}"
    return f"{{{c_text.string(port.name)}, {shape}, {port.elements}, {offset_bytes}, {copy_offset_bytes}}}"


def output_ports(outputs: Sequence[Port], layout: OutputLayout) -> Iterator[str]:
    """The table `outputs`."""
    yield "/* Name, rank, shape, elements, byte offset in the caller's buffer and in its aligned copy. */"
    yield "static const Port outputs[] = {"
    yield from (f"    {port(*row)}," for row in zip(outputs, layout.dense, layout.aligned, strict=True))
    yield "};"


def fields(values: Iterable[tuple[str, str | int]]) -> Iterator[str]:
    """The lines of a designated initialiser."""
    return (f"    .{name} = {value}," for name, value in values)


def _describe(port: Port) -> str:
    return f"{c_text.comment(port.name)}: float32, {c_text.dimensions(port.shape)}"


def _fill(template: Path, values: Mapping[str, str]) -> str:
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], template.read_text(encoding="utf-8"))
