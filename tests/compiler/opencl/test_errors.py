"""What is missing or does not fit: one clear line, and the exit status that says whose matter it is."""

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.compiler.opencl.conftest import MATMUL, Bench, GpuLinker, with_kernel

from mnv3c.compiler.opencl.link import GpuArtifactFiles
from mnv3c.compiler.opencl.program import GpuProgram
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.compiler.transport.host import CompletedBench, run_command
from mnv3c.graph.errors import MissingError
from mnv3c.targets.toolchain import Toolchain

BenchOf = Callable[[GpuProgram], Bench]


def require_line(done: CompletedBench, status: int, *parts: str) -> None:
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert done.stderr.startswith("net-bench: ") and done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


def test_no_opencl(gpu_artifact: GpuArtifactFiles) -> None:
    done = Bench(gpu_artifact.bench, {"MNV3C_OPENCL": "/nonexistent/libOpenCL.so"}).run("--check")
    require_line(done, 3, "no OpenCL found: MNV3C_OPENCL is /nonexistent/libOpenCL.so, which cannot be opened")


def test_a_library_that_is_no_opencl(gpu_artifact: GpuArtifactFiles) -> None:
    done = Bench(gpu_artifact.bench, {"MNV3C_OPENCL": str(gpu_artifact.library)}).run("--check")
    require_line(done, 3, "no OpenCL found: ", "which has no clGetPlatformIDs")


def test_no_driver(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / ".libs").mkdir()  # where the loader of pyopencl's wheel looks
    done = bench.run("--check", OCL_ICD_VENDORS=str(tmp_path), PYOPENCL_HOME=str(tmp_path))
    require_line(done, 3, "no OpenCL platform: the system's OpenCL has no driver (ICD)")


def test_no_such_device(bench: Bench) -> None:
    require_line(bench.run("--check", "--device", "Mali"), 3, 'none is called "Mali"')
    require_line(bench.run("--check", MNV3C_OPENCL_DEVICE="Adreno"), 3, 'none is called "Adreno"')
    assert bench.run("--check", "--device", "Portable Computing Language: ", MNV3C_OPENCL_DEVICE="x").returncode == 0


def test_a_kernel_that_does_not_compile(bench_of: BenchOf, program: GpuProgram) -> None:
    done = bench_of(with_kernel(program, "matmul", source=MATMUL.replace("sum;", "total;"))).run("--check")
    assert (done.returncode, done.stdout) == (1, "")
    # The driver may have had its say already.
    first, *log = done.stderr[done.stderr.index("net-bench: ") :].splitlines()
    assert first.startswith("net-bench: kernel matmul does not compile on ")
    assert any("error" in line and "'total'" in line for line in log), done.stderr


def test_a_device_without_halves(bench_of: BenchOf, small: Bench, program: GpuProgram) -> None:
    pragma = "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n"
    halves = bench_of(with_kernel(program, "matmul", source=pragma + MATMUL))
    done = replace(halves, environment=small.environment).run("--check", SMALL_EXTENSIONS="cl_khr_fp64 cl_khr_fp16x")
    require_line(done, 2, "has no arithmetic in halves (cl_khr_fp16); compile the network with fp32 arithmetic")


@pytest.mark.parametrize(("kernel", "size"), [("scale", (65536, 1, 1)), ("total", (16384, 1, 1))])
def test_a_work_group_that_is_too_large(
    bench_of: BenchOf, program: GpuProgram, kernel: str, size: tuple[int, int, int]
) -> None:
    source = program.kernel(kernel).source.replace("__attribute__((reqd_work_group_size(40, 1, 1)))", "")
    large = with_kernel(program, kernel, source=source, global_size=size, local_size=size)
    parts = (f"kernel {kernel}: a work-group of {size[0]} x 1 x 1", "work items at most")
    require_line(bench_of(large).run("--check"), 2, *parts)


def test_tuning_helps_where_the_work_group_is_too_large(small: Bench, tmp_path: Path) -> None:
    require_line(small.run("--check", SMALL_WORK_ITEMS_X="4"), 2, "kernel scale: a work-group of 8 x 1 x 1", "4 x ")
    # `total` is tied to its work-group of 40.
    require_line(small.run("--tune", str(tmp_path / "t"), SMALL_WORK_ITEMS_X="4"), 2, "kernel total: ")
    path = str(tmp_path / "t")
    assert small.run("--tune", path, "--runs", "0", SMALL_WORK_ITEMS_X="40").returncode == 0
    assert small.run("--check", "--tuning", path, SMALL_WORK_ITEMS_X="40").returncode == 0


@pytest.fixture(scope="module")
def small(
    bench: Bench, zig_cc: Callable[..., None], host_toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    """The bench on a device whose limits the environment can lower."""
    library = tmp_path_factory.mktemp("small") / "libsmall.so"
    real = bench.environment.get("MNV3C_OPENCL")
    system = (f"-L/usr/lib/{platform.machine()}-linux-gnu", "-l:libOpenCL.so.1")
    source = Path(__file__).with_name("small_device.c")
    zig_cc(
        host_toolchain.triple, library, "-shared", "-Wl,--no-as-needed", source, *([real] if real else system), "-ldl"
    )
    return replace(bench, environment={**bench.environment, "MNV3C_OPENCL": str(library)})


@pytest.mark.parametrize(
    ("variable", "value", "status", "message"),
    [
        ("SMALL_BUFFER_BYTES", "2303", 3, "allows 2303 bytes in one buffer, activations take 3072"),
        ("SMALL_BUFFER_BYTES", "100", 3, "allows 100 bytes in one buffer, the input take 160"),
        ("SMALL_MEMORY_BYTES", "7000", 3, "has 7000 bytes of memory, the network takes 7584"),
        ("SMALL_LOCAL_BYTES", "128", 2, "kernel total: takes 160 bytes of local memory; "),
        ("SMALL_WORK_GROUP", "32", 2, "kernel total: a work-group of 40 x 1 x 1; "),
        ("SMALL_ALIGNMENT_BITS", "32768", 3, "wants buffers at multiples of 4096 bytes"),
    ],
)
def test_limits(small: Bench, variable: str, value: str, status: int, message: str) -> None:
    assert small.run("--check").returncode == 0
    require_line(small.run("--check", **{variable: value}), status, message)


def test_emulated_arm64_reports_that_there_is_no_opencl(
    gpu_linker: GpuLinker, program: GpuProgram, emulated_system: Path, tmp_path: Path, on_ci: bool
) -> None:
    try:
        emulator = find_emulator("aarch64")
    except MissingError as error:
        if on_ci:
            raise
        pytest.skip(str(error))
    toolchain = Toolchain("aarch64-linux-gnu.2.28", "aarch64-linux-musl")
    bench = replace(gpu_linker, toolchain=toolchain)(tmp_path, program).bench
    start = (*emulator.command, "-L", str(emulated_system), str(bench))
    done = run_command((*start, "--check"), {})
    require_line(done, 3, "no OpenCL found: no libOpenCL.so on this system, and MNV3C_OPENCL names none")
    assert run_command((*start, "--help"), {}).returncode == 0
    require_line(run_command((*start, "--nonsense"), {}), 2, "unknown option --nonsense")
