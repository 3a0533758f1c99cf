"""Command streams as text: one line for each command, its operands by name, and a strict reader.

    stream format=mnv3c-commands/1 network=NAME device=NAME rounding=single dram_bytes=4096 ...
    input name=image shape=1x8x8x3 dram=0x0 affine=0.0078125:-1
    output name=scores shape=1x10 dram=0x100 affine=0.25:3
    section name=setup
    section name=inference
    launch layer=stem dram=0x200 parameters=0x0 length=64
    load dram=0x0[8x8x3] sram=0x40[8x8x3]
    matmul input=0x40[8x8x3] weights=0x100+248 bias=yes accumulators=0x0[4x4x8] kernel=3x3 stride=2x2 ...

A slab is written ADDRESS[ROWSxCOLUMNSxCHANNELS], with ``:ROW_STRIDE,COLUMN_STRIDE`` where it is not dense, and with
``%RING@FIRST`` where its rows lie in a ring. Lines may be empty or begin with ``#``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.ops import Rounding
from mnv3c.targets.edgetpu.commands import COMMAND_TYPES, Command, CommandStream, Port, Size
from mnv3c.targets.edgetpu.operand_text import Codec, operands_of

FORMAT = "mnv3c-commands/1"
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Header:
    """The first line."""

    format: str
    network: str
    device: str
    rounding: Rounding
    dram_bytes: Size
    sram_bytes: Size
    accumulator_bytes: Size
    parameter_bytes: Size


@dataclass(frozen=True)
class _Section:
    """What begins here: `setup` or `inference`."""

    name: str


def format_command(command: Command) -> str:
    """A command as its line, without the line's end."""
    return _line(_opcode(type(command)), command)


def format_stream(stream: CommandStream) -> str:
    """The whole stream; `parse_stream` reads it back as an equal one."""
    return "\n".join(_lines(stream)) + "\n"


def parse_stream(text: str, source: str) -> CommandStream:
    """Read a stream. Raises UserError naming `source`, the line and what is wrong with it."""
    lines = _Lines(text, source)
    header = lines.take(_Header, "stream")
    if header.format != FORMAT:
        lines.fail(f"format is '{header.format}', this program reads {FORMAT}")
    inputs = tuple(lines.take_all({"input": Port}))
    outputs = tuple(lines.take_all({"output": Port}))
    sections = []
    for name in ("setup", "inference"):
        if lines.take(_Section, "section").name != name:
            lines.fail(f"the section that begins here must be '{name}'")
        sections.append(tuple(lines.take_all(_COMMANDS)))
    lines.require_end()
    return CommandStream(
        header.network,
        header.device,
        header.rounding,
        header.dram_bytes,
        header.sram_bytes,
        header.accumulator_bytes,
        header.parameter_bytes,
        inputs,
        outputs,
        *sections,
    )


def _lines(stream: CommandStream) -> Iterator[str]:
    values = {field.name: getattr(stream, field.name) for field in fields(_Header) if field.name != "format"}
    yield _line("stream", _Header(FORMAT, **values))
    yield from (_line("input", port) for port in stream.inputs)
    yield from (_line("output", port) for port in stream.outputs)
    yield _line("section", _Section("setup"))
    yield from map(format_command, stream.setup)
    yield _line("section", _Section("inference"))
    yield from map(format_command, stream.commands)


def _opcode(command_type: type[Any]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", command_type.__name__).lower()


def _line(opcode: str, value: object) -> str:
    words = (f"{name}={codec.write(getattr(value, name))}" for name, codec in _OPERANDS[type(value)])
    return " ".join(chain((opcode,), words))


class _Lines:
    """The lines that say something, one after another."""

    def __init__(self, text: str, source: str) -> None:
        numbered = ((number, line.split()) for number, line in enumerate(text.splitlines(), start=1))
        self._rest = [(number, words) for number, words in numbered if words and not words[0].startswith("#")][::-1]
        self._source = source
        self._number = 0

    def fail(self, problem: str) -> NoReturn:
        raise UserError(f"{self._source}:{self._number}: {problem}")

    def take(self, wanted: type[_T], opcode: str) -> _T:
        """The next line, which must be of this kind."""
        self._number, words = self._rest.pop() if self._rest else (self._number + 1, ["(end)"])
        if words[0] != opcode:
            self.fail(f"expected '{opcode}', not '{words[0][:40]}'")
        return self._value(wanted, words)

    def take_all(self, kinds: Mapping[str, type[_T]]) -> Iterator[_T]:
        """The next lines, as long as they are of one of these kinds."""
        while self._rest and (kind := kinds.get(self._rest[-1][1][0])) is not None:
            self._number, words = self._rest.pop()
            yield self._value(kind, words)

    def require_end(self) -> None:
        if self._rest:
            self._number, words = self._rest[-1]
            self.fail(f"there is no command '{words[0][:40]}'; known: {', '.join(_COMMANDS)}")

    def _value(self, wanted: type[_T], words: list[str]) -> _T:
        opcode, *operands = words
        codecs = _OPERANDS[wanted]
        if len(operands) > len(codecs):
            self.fail(f"{opcode}: '{operands[len(codecs)][:40]}' is too much")
        values = []
        for (name, codec), word in zip(codecs, chain(operands, repeat("")), strict=False):
            key, equals, text = word.partition("=")
            if not equals or key != name:
                self.fail(f"{opcode}: expected '{name}=', not '{word[:40] or '(end)'}'")
            try:
                values.append(codec.read(text))
            except ValueError:
                self.fail(f"{opcode}: {name}: must be {codec.form}, not '{text[:60]}'")
        return wanted(*values)


_COMMANDS: Mapping[str, type[Command]] = MappingProxyType({_opcode(kind): kind for kind in COMMAND_TYPES})
_OPERANDS: Mapping[type[Any], tuple[tuple[str, Codec], ...]] = MappingProxyType(
    {kind: operands_of(kind) for kind in (_Header, _Section, Port, *COMMAND_TYPES)}
)
