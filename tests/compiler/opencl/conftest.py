"""A program of four hand-written kernels, the artifact linked from it, and an OpenCL to run it on."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.opencl.installation import opencl_environment
from mnv3c.compiler.opencl.link import GpuArtifactFiles, link_gpu_artifact
from mnv3c.compiler.opencl.program import GpuCall, GpuKernel, GpuProgram
from mnv3c.compiler.program import Argument, Port, Region
from mnv3c.compiler.transport.host import CompletedBench, run_bench
from mnv3c.graph.errors import MissingError
from mnv3c.targets.toolchain import Toolchain

ELEMENTS, COLUMNS = 40, 8
Floats = npt.NDArray[np.float32]

SCALE = """\
#pragma OPENCL EXTENSION cl_khr_global_int32_base_atomics : enable
__kernel void scale(__global const float* restrict x, __global const float* restrict w, __global float* restrict y)
{
    const int i = (int)get_group_id(0) * 8 + (int)get_local_id(0);
    y[i] = x[i] * w[i];
}
"""
ADD = """\
__kernel void add(__global const float* restrict x, __global const float* restrict skip, __global float* restrict y)
{
    const int row = (int)get_group_id(1) * 5 + (int)get_local_id(1);
    const int i = row * 8 + (int)get_group_id(0) * 4 + (int)get_local_id(0);
    y[i] = x[i] + skip[i];
}
"""
MATMUL = """\
__kernel void matmul(__global const float* restrict x, __global const float4* restrict w, __global float4* restrict y)
{
    float4 sum = (float4)(0.0f);
    for (int k = 0; k < 40; ++k)
        sum += x[k] * w[k * 2 + get_global_id(0)];
    y[get_global_id(0)] = sum;
}
"""
TOTAL = """\
__kernel __attribute__((reqd_work_group_size(40, 1, 1)))
void total(__global const float* restrict x, __global float* restrict y)
{
    __local float part[40];
    part[get_local_id(0)] = x[get_local_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    float sum = 0.0f;
    for (int i = 0; i < 40; ++i)
        sum += part[i];
    if (get_local_id(0) < 3)
        y[get_local_id(0)] = sum * (get_local_id(0) + 1);
}
"""


def weights() -> tuple[Floats, Floats]:
    """One per value, and a matrix."""
    values = check_input(ELEMENTS + ELEMENTS * COLUMNS, seed=3)
    return values[:ELEMENTS], values[ELEMENTS:].reshape(ELEMENTS, COLUMNS)


def compute(x: Floats) -> Floats:
    """What the program computes, in NumPy."""
    scale, matrix = weights()
    added = x * scale * scale + x
    return np.concatenate([added @ matrix, added.sum() * np.array([1, 2, 3], np.float32)]).astype(np.float32)


def make_program() -> GpuProgram:
    """Scale twice with one kernel, add the input, then multiply, and sum up; the second output is not aligned."""
    x, w = Argument(Region.INPUT, 0, ELEMENTS), Argument(Region.WEIGHTS, 0, ELEMENTS)
    matrix = Argument(Region.WEIGHTS, 1024, ELEMENTS * COLUMNS)
    arena = [Argument(Region.ARENA, 1024 * i, ELEMENTS) for i in range(3)]
    first, second = Argument(Region.OUTPUT, 0, 8), Argument(Region.OUTPUT, 32, 3)
    kernels = (
        GpuKernel("scale", SCALE, (40, 1, 1), (8, 1, 1)),
        GpuKernel("add", ADD, (8, 5, 1), (4, 5, 1)),
        GpuKernel("matmul", MATMUL, (2, 1, 1), (2, 1, 1)),
        GpuKernel("total", TOTAL, (40, 1, 1), (40, 1, 1)),
    )
    calls = (
        GpuCall("stem", "scale", "5x8", "scale", (x, w, arena[0]), ELEMENTS, 480),
        GpuCall('odd "name" */ \\ é??/\n', "scale", "5x8", "scale", (arena[0], w, arena[1]), ELEMENTS, 480),
        GpuCall("skip", "add", "5x8", "add", (arena[1], x, arena[2]), 0, 480),
        GpuCall("head", "matmul", "40 -> 8", "matmul", (arena[2], matrix, first), ELEMENTS * COLUMNS, 1472),
        GpuCall("total", "total", "40 -> 3", "total", (arena[2], second), 0, 172),
    )
    outputs = (Port("first", (1, 8)), Port("second", (3,)))
    return GpuProgram("net", Port("image", (1, 5, 8)), outputs, kernels, calls, 3072, 1024 + 4 * ELEMENTS * COLUMNS)


def with_kernel(program: GpuProgram, name: str, **changes: object) -> GpuProgram:
    """The same program with something else in one kernel."""
    kernels = tuple(replace(k, **changes) if k.name == name else k for k in program.kernels)  # type: ignore[arg-type]
    return replace(program, kernels=kernels)


@dataclass(frozen=True)
class Bench:
    """An artifact's bench and the environment that it runs in."""

    path: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, **changes: str) -> CompletedBench:
        """Run it, with other variables in the environment."""
        return run_bench(self.path, arguments, {**self.environment, **changes})


@pytest.fixture(scope="session")
def program() -> GpuProgram:
    return make_program()


@pytest.fixture(scope="session")
def opencl(tmp_path_factory: pytest.TempPathFactory, on_ci: bool) -> Mapping[str, str]:
    """PoCL's environment, with a cache of its own; skips where there is none, and fails on CI."""
    try:
        found = opencl_environment(pocl=True)
    except MissingError as error:
        if on_ci:
            raise
        pytest.skip(str(error))
    found.pop("MNV3C_OPENCL_TUNING", None)
    return found | {"MNV3C_OPENCL_CACHE": str(tmp_path_factory.mktemp("binaries"))}


@dataclass(frozen=True)
class GpuLinker:
    """Links a program."""

    toolchain: Toolchain

    def __call__(self, directory: Path, program: GpuProgram, reference: Floats | None = None) -> GpuArtifactFiles:
        directory.mkdir(parents=True, exist_ok=True)
        scale, matrix = weights()
        values = np.zeros(program.weights_bytes // 4, np.float32)
        values[:ELEMENTS] = scale
        values[256 : 256 + matrix.size] = matrix.ravel()
        values.tofile(directory / "weights.raw")
        (compute(check_input(ELEMENTS)) if reference is None else reference).tofile(directory / "reference.raw")
        files = (directory / "weights.raw", directory / "reference.raw")
        return link_gpu_artifact(directory, program, *files, self.toolchain, print)


@pytest.fixture(scope="session")
def gpu_linker(host_toolchain: Toolchain) -> GpuLinker:
    return GpuLinker(host_toolchain)


@pytest.fixture(scope="session")
def gpu_artifact(
    gpu_linker: GpuLinker, program: GpuProgram, tmp_path_factory: pytest.TempPathFactory
) -> GpuArtifactFiles:
    return gpu_linker(tmp_path_factory.mktemp("gpu-artifact"), program)


@pytest.fixture(scope="session")
def bench(gpu_artifact: GpuArtifactFiles, opencl: Mapping[str, str]) -> Bench:
    return Bench(gpu_artifact.bench, opencl)


@pytest.fixture
def bench_of(gpu_linker: GpuLinker, opencl: Mapping[str, str], tmp_path: Path) -> Callable[[GpuProgram], Bench]:
    """Link another program."""
    return lambda program: Bench(gpu_linker(tmp_path / "other", program).bench, opencl)


@pytest.fixture(scope="session")
def emulated_system(on_ci: bool) -> Path:
    """Where the libc of arm64 lies; skips where it is missing, and fails on CI."""
    folder = Path(os.environ.get("QEMU_LD_PREFIX") or "/usr/aarch64-linux-gnu")
    if not (folder / "lib" / "ld-linux-aarch64.so.1").exists():
        message = f"no libc for arm64 in {folder} (Debian: libc6-arm64-cross; or set QEMU_LD_PREFIX)"
        assert not on_ci, message
        pytest.skip(message)
    return folder
