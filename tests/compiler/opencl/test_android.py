"""Programs for Android: what they ask of bionic, and that they start where glibc stands in for it."""

import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.compiler.opencl.conftest import Bench, GpuLinker

from mnv3c.compiler.opencl.program import GpuProgram
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.compiler.transport.host import run_command
from mnv3c.graph.errors import MissingError
from mnv3c.targets.toolchain import Toolchain

ZigCC = Callable[..., None]
HERE = Path(__file__).parent


def android(architecture: str) -> Toolchain:
    return Toolchain(f"{architecture}-linux-gnu.2.28", f"{architecture}-linux-musl", android=True)


@pytest.fixture(scope="module")
def stand_in(zig_cc: ZigCC, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with libc.so, libm.so and libdl.so that leave everything to glibc's own."""

    def make(architecture: str) -> Path:
        folder = tmp_path_factory.mktemp(architecture)
        (folder / "empty.c").write_text("typedef int empty;\n")
        sources = {"libc": HERE / "glibc_as_bionic.c", "libm": folder / "empty.c", "libdl": folder / "empty.c"}
        for name, source in sources.items():
            zig_cc(f"{architecture}-linux-gnu.2.28", folder / f"{name}.so", "-shared", f"-Wl,-soname,{name}.so", source)
        return folder

    return make


def test_needs_bionic_alone(gpu_linker: GpuLinker, program: GpuProgram, tmp_path: Path, on_ci: bool) -> None:
    files = replace(gpu_linker, toolchain=android("aarch64"))(tmp_path, program)
    readelf = shutil.which("readelf")
    if readelf is None:
        assert not on_ci, "CI needs readelf (binutils)"
        pytest.skip("readelf (binutils) is not installed")
    for path, libraries in (
        (files.library, {"libc.so", "libdl.so"}),
        (files.bench, {"libc.so", "libm.so", "libdl.so"}),
    ):
        text = subprocess.run([readelf, "-Wdl", path], capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"Shared library: \[(.*)\]", text)) == libraries
        assert b"GLIBC_" not in path.read_bytes()
        assert ("/system/bin/linker64" in text) == (path == files.bench)
        assert "TEXTREL" not in text
        # Android 15 has devices with pages of 16 KiB.
        assert {line.split()[-1] for line in text.splitlines() if line.split()[:1] == ["LOAD"]} == {"0x4000"}


def test_starts_on_this_machine(
    gpu_linker: GpuLinker, program: GpuProgram, bench: Bench, stand_in: Callable[[str], Path], tmp_path: Path
) -> None:
    machine = platform.machine()
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    if machine != "x86_64" or not loader.exists():
        pytest.skip("takes glibc on x86_64")
    path = replace(gpu_linker, toolchain=android(machine))(tmp_path, program).bench
    folders = f"{stand_in(machine)}:{bench.environment.get('LD_LIBRARY_PATH', '')}"
    start = (str(loader), "--preload", "libm.so.6", "--library-path", folders, str(path))
    done = run_command((*start, "--check"), bench.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "passed" in done.stdout
    done = run_command((*start, "--output", "/nonexistent/out", "--runs", "1"), bench.environment)
    assert (done.returncode, done.stderr) == (
        2,
        "net-bench: cannot write /nonexistent/out.tmp: No such file or directory\n",
    )


def test_starts_under_emulation(
    gpu_linker: GpuLinker,
    program: GpuProgram,
    stand_in: Callable[[str], Path],
    emulated_system: Path,
    tmp_path: Path,
    on_ci: bool,
) -> None:
    try:
        emulator = find_emulator("aarch64")
    except MissingError as error:
        if on_ci:
            raise
        pytest.skip(str(error))
    path = replace(gpu_linker, toolchain=android("aarch64"))(tmp_path, program).bench
    loader = emulated_system / "lib" / "ld-linux-aarch64.so.1"
    folders = f"{stand_in('aarch64')}:{emulated_system / 'lib'}"
    start = (*emulator.command, str(loader), "--preload", "libm.so.6", "--library-path", folders, str(path))
    done = run_command((*start, "--check"), {})
    message = "net-bench: no OpenCL found: no libOpenCL.so on this system, and MNV3C_OPENCL names none\n"
    assert (done.returncode, done.stdout, done.stderr) == (3, "", message)
