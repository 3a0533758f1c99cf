"""What is printed: the source of the kernels, the tables in C; and which programs are refused."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.compiler.opencl.conftest import make_program, with_kernel

import mnv3c.compiler.opencl
from mnv3c.compiler.opencl.emit import emit_gpu_header, emit_gpu_program
from mnv3c.compiler.opencl.program import GpuKernel, GpuProgram
from mnv3c.compiler.opencl.source import kernel_source
from mnv3c.compiler.program import Argument, Region
from mnv3c.graph.errors import UserError

ZigCC = Callable[..., None]
RUNTIME = Path(str(mnv3c.compiler.opencl.__file__)).with_name("runtime")


def test_texts(program: GpuProgram, golden: Callable[[str, str], None]) -> None:
    source = kernel_source(program)
    golden("gpu_net.cl", source.text)
    golden("gpu_net.c", emit_gpu_program(program, source))
    golden("gpu_net.h", emit_gpu_header(program))


def test_every_kernel_is_found_in_the_source(program: GpuProgram) -> None:
    source = kernel_source(dataclasses.replace(program, name="naïve"))
    text = source.text.encode()
    assert len(text) == source.bytes
    assert b"__kernel" not in text[: source.preamble_bytes]
    ends = source.preamble_bytes
    for kernel in program.kernels:
        offset, size = source.spans[kernel.name]
        assert offset == ends
        ends += size
        part = text[offset:ends].decode()
        assert part.count("__kernel") == 1 and f"void {kernel.name}(" in part
        assert ("get_group_id" in part) <= (not kernel.movable)
        assert part.count("#define") == part.count("#undef") == (2 if kernel.movable else 0)
    assert ends == len(text)


def test_equal_preambles_are_written_once(program: GpuProgram) -> None:
    pragma = "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n"
    for name in ("add", "matmul"):
        program = with_kernel(program, name, source=pragma + program.kernel(name).source)
    assert kernel_source(program).text.count(pragma) == 1


@pytest.mark.parametrize(
    "line",
    [
        "__local float part[4];",
        "barrier(CLK_LOCAL_MEM_FENCE);",
        "int n = get_local_size(0);",
        "int n = get_num_groups(0);",
        "float sum = sub_group_reduce_add(1.0f);",
        "float sum = work_group_reduce_add(1.0f);",
        "local int n;",
    ],
)
def test_what_ties_a_kernel_to_its_work_group(line: str) -> None:
    text = "__kernel void k(__global float* y)\n{{\n    {}\n}}\n"
    free = text.format("int localised = get_local_id(0) + get_group_id(0);")
    assert GpuKernel("k", free, (4, 1, 1), (4, 1, 1)).movable
    assert not GpuKernel("k", text.format(line), (4, 1, 1), (4, 1, 1)).movable


def test_every_source_compiles_without_warnings(program: GpuProgram, zig_cc: ZigCC, tmp_path: Path) -> None:
    (tmp_path / "net.c").write_text(emit_gpu_program(program, kernel_source(program)), encoding="utf-8")
    (tmp_path / "net.h").write_text(emit_gpu_header(program), encoding="utf-8")
    for source in (tmp_path / "net.c", *sorted(RUNTIME.glob("*.c"))):
        zig_cc("aarch64-linux-gnu.2.28", tmp_path / "out.o", f"-I{RUNTIME}", "-Wpedantic", "-c", source)


def test_header_is_cplusplus_too(program: GpuProgram, zig_cc: ZigCC, tmp_path: Path) -> None:
    (tmp_path / "net.h").write_text(emit_gpu_header(program), encoding="utf-8")
    source = tmp_path / "use.cpp"
    source.write_text('#include "net.h"\nint use(const float* in, float* out) { return net_run(in, out); }\n')
    zig_cc("x86_64-linux-musl", tmp_path / "use.o", "-std=c++11", "-Wpedantic", "-c", source)


def refused(program: GpuProgram, message: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=message):
        emit_gpu_program(program, kernel_source(program))


def with_argument(call: int, index: int, argument: Argument, program: GpuProgram | None = None) -> GpuProgram:
    program = program or make_program()
    calls = list(program.calls)
    arguments = list(calls[call].arguments)
    arguments[index] = argument
    calls[call] = dataclasses.replace(calls[call], arguments=tuple(arguments))
    return dataclasses.replace(program, calls=tuple(calls))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (Argument(Region.ARENA, 64, 40), "not 1024-byte aligned"),
        (Argument(Region.ARENA, 3072, 1), "leaves its region of 3072 bytes"),
        (Argument(Region.WEIGHTS, 2048, 100), "leaves its region of 2304 bytes"),
        (Argument(Region.ARENA, -1024, 1), "leaves"),
        (Argument(Region.ARENA, 0, 0), "leaves"),
        (Argument(Region.OUTPUT, 0, 11), "spans two outputs"),
        (Argument(Region.OUTPUT, 4, 1), "not 1024-byte aligned"),
        (Argument(Region.ARENA, 0, 40, "float16"), "not float32"),
    ],
)
def test_defective_plans_are_refused(argument: Argument, message: str) -> None:
    refused(with_argument(1, 2, argument), message)


def test_halves_are_for_the_devices_own_memory() -> None:
    halves = dataclasses.replace(make_program(), storage="fp16")
    changed = with_argument(1, 2, Argument(Region.ARENA, 1024, 40, "float16"), halves)
    assert "{GPU_ARENA, 1024, 80}" in emit_gpu_program(changed, kernel_source(changed))
    refused(with_argument(0, 0, Argument(Region.INPUT, 0, 40, "float16"), halves), "not float32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_size": (41, 1, 1)}, r"kernel scale: work-group \(8, 1, 1\) does not divide \(41, 1, 1\)"),
        ({"local_size": (0, 1, 1)}, "does not divide"),
        ({"source": "__kernel void other(__global float* y) {}"}, "its source defines \\['other'\\]"),
        ({"source": "void scale(__global float* y) {}"}, "its source defines \\[\\]"),
        ({"source": "__kernel void scale(__global float* y) {}"}, "3 arguments, kernel scale takes 1"),
        ({"source": "__kernel void scale(__global float* y, int n, __global float* z) {}"}, "something else than"),
    ],
)
def test_defective_kernels_are_refused(program: GpuProgram, changes: dict[str, object], message: str) -> None:
    refused(with_kernel(program, "scale", **changes), message)


def test_kernels_and_calls_belong_together(program: GpuProgram) -> None:
    refused(dataclasses.replace(program, kernels=program.kernels[1:]), "calls without kernels: .'scale'")
    refused(dataclasses.replace(program, calls=program.calls[:-1]), "kernels without calls.*'total'")
    refused(dataclasses.replace(program, kernels=(*program.kernels, program.kernels[0])), "scale is there twice")


def test_input_and_output_are_touched(program: GpuProgram) -> None:
    calls = tuple(call for call in program.calls if call.kernel not in ("matmul", "total"))
    kernels = tuple(kernel for kernel in program.kernels if kernel.name in ("scale", "add"))
    refused(dataclasses.replace(program, calls=calls, kernels=kernels), "none writes the output")


@pytest.mark.parametrize("name", ["", "7net", "my-net", "né", "mnv3c_net"])
def test_name_must_be_an_identifier(program: GpuProgram, name: str) -> None:
    refused(dataclasses.replace(program, name=name), re.escape(repr(name)), UserError)
