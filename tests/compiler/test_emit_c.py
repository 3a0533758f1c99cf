import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mnv3c.compiler import c_text
from mnv3c.compiler.emit_c import emit_blob, emit_header, emit_program
from mnv3c.compiler.layout import OutputLayout
from mnv3c.compiler.program import Argument, Port, Program, Region
from mnv3c.graph.errors import UserError

ZigCC = Callable[..., None]


def replace_argument(program: Program, call: int, index: int, argument: Argument) -> Program:
    calls = list(program.calls)
    arguments = list(calls[call].arguments)
    arguments[index] = argument
    calls[call] = dataclasses.replace(calls[call], arguments=tuple(arguments))
    return dataclasses.replace(program, calls=tuple(calls))


def test_program_text(program: Program, golden: Callable[[str, str], None]) -> None:
    golden("net.c", emit_program(program))


def test_header_text(program: Program, golden: Callable[[str, str], None]) -> None:
    golden("net.h", emit_header(program))


def test_blob_text(golden: Callable[[str, str], None]) -> None:
    golden("weights.S", emit_blob("mnv3c_weights", "weights.bin", "0123abcd"))


def test_every_source_compiles_without_warnings(program: Program, zig_cc: ZigCC, tmp_path: Path) -> None:
    (tmp_path / "net.c").write_text(emit_program(program), encoding="utf-8")
    (tmp_path / "net.h").write_text(emit_header(program), encoding="utf-8")
    runtime = Path(sys.modules["mnv3c.compiler.emit_c"].__file__ or "").with_name("runtime")
    for source in (tmp_path / "net.c", *sorted(runtime.glob("*.c"))):
        if not source.name.startswith("bionic_"):
            zig_cc("aarch64-linux-musl", tmp_path / "out.o", "-Wpedantic", "-c", source)


def test_header_is_cplusplus_too(program: Program, zig_cc: ZigCC, tmp_path: Path) -> None:
    (tmp_path / "net.h").write_text(emit_header(program), encoding="utf-8")
    source = tmp_path / "use.cpp"
    source.write_text('#include "net.h"\nint use(const float* in, float* out) { return net_run(in, out); }\n')
    zig_cc("x86_64-linux-musl", tmp_path / "use.o", "-std=c++11", "-Wpedantic", "-c", source)
    assert b"net_run" in (tmp_path / "use.o").read_bytes()
    assert b"_Z7net_run" not in (tmp_path / "use.o").read_bytes()


def test_text_is_deterministic(program: Program) -> None:
    assert emit_program(program) == emit_program(dataclasses.replace(program))


@pytest.mark.parametrize("name", ["", "7net", "my-net", "né", "mnv3c_net", "a b"])
def test_name_must_be_an_identifier(program: Program, name: str) -> None:
    with pytest.raises(UserError, match=re.escape(repr(name))):
        emit_program(dataclasses.replace(program, name=name))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (Argument(Region.ARENA, 32, 40), "not 64-byte aligned"),
        (Argument(Region.ARENA, 384, 1), "leaves its region of 384 bytes"),
        (Argument(Region.WEIGHTS, 64, 40), "leaves its region of 160 bytes"),
        (Argument(Region.ARENA, -64, 1), "leaves"),
        (Argument(Region.OUTPUT, 0, 8), "spans two outputs"),
        (Argument(Region.OUTPUT, 4, 1), "not 64-byte aligned"),
        (Argument(Region.ARENA, 0, 40, "float16"), "not float32"),
        (Argument(Region.WEIGHTS, 0, 81, "float16"), "leaves its region of 160 bytes"),
    ],
)
def test_defective_plans_are_refused(program: Program, argument: Argument, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        emit_program(replace_argument(program, 1, 1, argument))


def test_halves_differ_in_the_element_type_alone(program: Program) -> None:
    halved = replace_argument(program, 0, 1, Argument(Region.WEIGHTS, 0, 80, "float16"))
    before, after = (emit_program(each).splitlines() for each in (program, halved))
    macro = "#define HALF_WEIGHTS(offset, elements) MNV3C_HALVES(mnv3c_weights + (offset), elements)"
    assert after.count(macro) == 1
    after.remove(macro)
    changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    layer = "static const TVMFFIAny layer_0[] = {{INPUT(0), {}, ARENA(0, 40)}};"
    assert changed == [(layer.format("WEIGHTS(0, 40)"), layer.format("HALF_WEIGHTS(0, 80)"))]


def test_a_program_that_ignores_its_input_is_refused(program: Program) -> None:
    with pytest.raises(ValueError, match="no kernel reads the input"):
        emit_program(dataclasses.replace(program, calls=program.calls[1:]))


def test_output_layout(program: Program) -> None:
    outputs = (Port("a", (16,)), Port("b", (17,)), Port("c", ()))
    layout = OutputLayout.of(dataclasses.replace(program, outputs=outputs))
    assert layout == OutputLayout(dense=(0, 64, 132), aligned=(0, 64, 192), copy_bytes=256)
    assert [layout.to_aligned(offset) for offset in (0, 64, 128, 132)] == [0, 64, 128, 192]


def test_c_strings() -> None:
    assert c_text.string('a"\\?é\n1') == '"a\\042\\134\\077\\303\\251\\0121"'
    assert c_text.comment("a */ /* b\nc é") == "a * / / * b?c é"
