"""The OpenCL C itself: readable, self-contained, valid also where this machine's OpenCL cannot run it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.targets.gpu.test_families import LAYERS, runner, types

from mnv3c.graph.activation import HSWISH
from mnv3c.graph.ops import Conv2d
from mnv3c.targets.gpu.opencl import KernelSource
from mnv3c.targets.gpu.precision import Float

# What clang's own table of OpenCL functions expects a header to have named.
PRELUDE = "".join(
    f"typedef {kind} {name}{lanes} __attribute__((ext_vector_type({lanes})));\n"
    for kind, name in [
        *((name, name) for name in ("char", "short", "int", "long", "float", "half")),
        *((f"unsigned {name}", f"u{name}") for name in ("char", "short", "int", "long")),
    ]
    for lanes in (2, 3, 4, 8, 16)
)
HEADER = f"""#pragma OPENCL EXTENSION cl_khr_fp16 : enable
typedef unsigned int uint;
typedef uint cl_mem_fence_flags;
typedef __SIZE_TYPE__ size_t;
#define CLK_LOCAL_MEM_FENCE 1
#define __opencl_c_named_address_space_builtins 1
{PRELUDE}"""
CLANG = ("-cl-std=CL1.2", "-target", "spir64-unknown-unknown", "-Xclang", "-fdeclare-opencl-builtins", "-fsyntax-only")


def sources(storage: Float, arithmetic: Float = "fp32") -> list[tuple[list[str], KernelSource]]:
    """The first candidate of every layer, with the names of its arguments."""
    gpu = runner("mali-g710", storage)
    target = gpu.target.with_storage(storage, arithmetic)
    made = []
    for number, (_, op, shapes) in enumerate(LAYERS):
        work = gpu.work(op, types(shapes))
        offers = (family.candidates(work, gpu.device) for family in target.families())
        candidate = next(offer for offer in offers if offer)[0]
        names = [parameter.name for parameter in candidate.buffers()]
        made.append((names, target.kernel_source(candidate, f"kernel{number}", gpu.device)))
    return made


@pytest.mark.parametrize(("storage", "arithmetic"), [("fp32", "fp32"), ("fp16", "fp32"), ("fp16", "fp16")])
def test_kernels_are_valid_opencl_c(storage: Float, arithmetic: Float, tmp_path: Path) -> None:
    path = tmp_path / "kernels.cl"
    path.write_text(HEADER + "".join(made.source for _, made in sources(storage, arithmetic)))
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "clang",
        "-x",
        "cl",
        *CLANG,
        "-cl-no-stdinc",
        "-fsyntax-only",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
def test_arguments_keep_their_order_and_nothing_stands_before_the_kernel(storage: Float) -> None:
    for names, made in sources(storage):
        head = re.match(rf"__kernel void {made.name}\((.*)\) {{\n", made.source)
        assert head is not None
        assert [parameter.split()[-1] for parameter in head[1].split(", ")] == names
        assert all(parameter.startswith("__global ") for parameter in head[1].split(", "))
        assert made.source.count("__kernel") == 1 and "_ptr" not in made.source


def test_only_arithmetic_in_halves_asks_for_the_extension() -> None:
    assert not any("cl_khr_fp16" in made.source for _, made in sources("fp16"))
    assert all(made.source.startswith("#pragma OPENCL EXTENSION cl_khr_fp16") for _, made in sources("fp16", "fp16"))


def test_a_kernel_reads_as_it_did(golden: Callable[[str, str], None]) -> None:
    gpu = runner("mali-g76", "fp16")
    work = gpu.work(Conv2d(16, bias=True, activation=HSWISH), types([(1, 14, 14, 24)]))
    candidate = next(each for each in gpu.candidates(work) if each.parameters["pixels"] == 2)
    golden("pointwise.cl", gpu.target.kernel_source(candidate, "pointwise", gpu.device).source)
