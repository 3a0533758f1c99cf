import ctypes
import dataclasses
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.link import ArtifactFiles, link_artifact
from mnv3c.compiler.program import Program
from mnv3c.compiler.zig import LinkError
from mnv3c.graph.errors import MissingError
from mnv3c.targets.toolchain import Toolchain

ELEMENTS = 40
Library = ctypes.CDLL


def load(path: Path) -> Library:
    library = ctypes.CDLL(str(path))
    for function in ("last_error", "input_name", "output_name", "layer_name", "layer_kind", "layer_shape"):
        getattr(library, f"net_{function}").restype = ctypes.c_char_p
    library.net_layer_macs.restype = ctypes.c_int64
    return library


@pytest.fixture
def library(artifact: ArtifactFiles) -> Iterator[Library]:
    library = load(artifact.library)
    yield library
    library.net_shutdown()


def buffer(elements: int, offset_bytes: int) -> Any:
    """Zeros that start `offset_bytes` past a 64-byte boundary."""
    raw = np.zeros(elements * 4 + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset_bytes
    return raw[start : start + elements * 4].view(np.float32)


def pointer(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(("input_offset", "output_offset"), [(0, 0), (4, 0), (0, 36), (20, 4), (1, 2)])
def test_runs_with_any_alignment_and_threads(
    library: Library, expected: Callable[[Any], Any], threads: int, input_offset: int, output_offset: int
) -> None:
    assert library.net_init(threads) == 0
    source, result = buffer(ELEMENTS, input_offset), buffer(8 + 1, output_offset)
    source[:] = check_input(ELEMENTS, seed=threads)
    result[8] = 99.0
    for _ in range(20):
        assert library.net_run(pointer(source), pointer(result)) == 0
    np.testing.assert_array_equal(result[:8], expected(source))
    assert result[8] == 99.0


def test_describes_itself(library: Library) -> None:
    shape = ctypes.POINTER(ctypes.c_int64)()
    assert library.net_input_rank() == library.net_input_shape(ctypes.byref(shape)) == 3
    assert shape[:3] == [1, 5, 8]
    assert library.net_output_count() == 2
    assert library.net_output_shape(1, ctypes.byref(shape)) == library.net_output_rank(1) == 1
    assert shape[0] == 3
    assert library.net_output_shape(2, ctypes.byref(shape)) == library.net_output_rank(-1) == -1
    assert (library.net_input_name(), library.net_output_name(1), library.net_output_name(2)) == (
        b"image",
        b"second",
        None,
    )
    assert library.net_layer_count() == 3
    assert library.net_layer_name(1).decode() == 'odd "name" */ \\ é??/\n'
    assert (library.net_layer_kind(0), library.net_layer_shape(0)) == (b"scale", b"5x8")
    assert (library.net_layer_macs(0), library.net_layer_macs(3)) == (ELEMENTS, -1)


def test_profiled_run_times_every_layer(library: Library) -> None:
    times = (ctypes.c_uint64 * 3)(*[2**63] * 3)
    source, result = buffer(ELEMENTS, 0), buffer(8, 0)
    assert library.net_run_profiled(pointer(source), pointer(result), times) == 0
    assert all(time < 10**10 for time in times)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failing_kernel_is_named(library: Library, threads: int) -> None:
    assert library.net_init(threads) == 0
    source, result = buffer(ELEMENTS, 0), buffer(8, 0)
    source[0] = 12345.0
    assert library.net_run(pointer(source), pointer(result)) == -1
    assert library.net_last_error() == b"layer stem failed with code -7"


def test_bad_arguments_are_refused(library: Library) -> None:
    assert library.net_run(None, pointer(buffer(8, 0))) == -1
    assert b"NULL" in library.net_last_error()
    for threads in (-1, 65):
        assert library.net_set_threads(threads) == -1
        assert b"0 to 64" in library.net_last_error()


def thread_count() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_never_more_threads_than_asked_for(library: Library) -> None:
    library.net_shutdown()
    before = thread_count()
    for threads, extra in ((4, 3), (2, 1), (0, 0), (3, 2), (1, 0)):
        assert library.net_set_threads(threads) == 0
        assert thread_count() == before + extra
    library.net_init(4)
    library.net_shutdown()
    assert thread_count() == before


def dynamic_symbols(path: Path, on_ci: bool) -> list[tuple[str, str]]:
    """Name and section, `UND` or a number, of each symbol that the loader sees."""
    readelf = shutil.which("readelf")
    if readelf is None:
        assert not on_ci, "CI needs readelf (binutils)"
        pytest.skip("readelf (binutils) is not installed")
    output = subprocess.run([readelf, "-W", "--dyn-syms", path], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in output.splitlines()]
    return [(row[7], row[6]) for row in rows if len(row) > 7 and row[0] != "Num:"]


def test_only_the_api_is_visible(artifact: ArtifactFiles, on_ci: bool) -> None:
    exported = {name for name, section in dynamic_symbols(artifact.library, on_ci) if section != "UND"}
    header = artifact.header.read_text()
    assert len(exported) == 18
    assert all(name.startswith("net_") and f"{name}(" in header for name in exported)


def test_new_weights_under_the_same_name_are_used(linker: Any, host_toolchain: Toolchain, tmp_path: Path) -> None:
    source, result = np.ones(ELEMENTS, np.float32), np.zeros(8, np.float32)
    for value in (3.0, 5.0):
        folder = tmp_path / str(value)
        library = load(linker(folder, host_toolchain, weights=np.full(ELEMENTS, value, np.float32)).library)
        assert library.net_run(pointer(source), pointer(result)) == 0
        np.testing.assert_array_equal(result, np.full(8, value, np.float32))


def test_two_networks_share_a_process(
    artifact: ArtifactFiles, linker: Any, host_toolchain: Toolchain, tmp_path: Path
) -> None:
    other = dataclasses.replace(linker, program=dataclasses.replace(linker.program, name="other"))
    weights = np.full(ELEMENTS, 7.0, np.float32)
    first = ctypes.CDLL(str(artifact.library), mode=ctypes.RTLD_GLOBAL)
    second = ctypes.CDLL(str(other(tmp_path, host_toolchain, weights=weights).library), mode=ctypes.RTLD_GLOBAL)
    source, result = np.ones(ELEMENTS, np.float32), np.zeros(8, np.float32)
    assert second.other_run(pointer(source), pointer(result)) == 0
    np.testing.assert_array_equal(result, weights[:8])
    assert first.net_run(pointer(source), pointer(result)) == 0
    assert result[0] == 2.0


def test_android_library_needs_bionic_alone(linker: Any, tmp_path: Path, on_ci: bool) -> None:
    toolchain = Toolchain("aarch64-linux-gnu.2.28", "aarch64-linux-musl", ("-mcpu=cortex_a76",), android=True)
    library = linker(tmp_path, toolchain).library
    contents = library.read_bytes()
    assert contents[:4] == b"\x7fELF"
    assert b"GLIBC_" not in contents
    assert b"\0libc.so\0" in contents
    assert b"libc.so.6" not in contents
    undefined = {name for name, section in dynamic_symbols(library, on_ci) if section == "UND"}
    allowed = "clock_gettime free memcpy posix_memalign pthread_create pthread_join strlen syscall"
    assert undefined <= set(allowed.split())


def test_an_undefined_kernel_is_named_and_leaves_nothing(
    program: Program, host_toolchain: Toolchain, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(bytes(program.weights_bytes))
    (tmp_path / "reference").write_bytes(bytes(32))
    target = tmp_path / "out"
    with pytest.raises(LinkError, match=r"linking libnet.so: .*__tvm_ffi_(scale|reverse|split)") as caught:
        link_artifact(target, program, [], tmp_path / "weights", tmp_path / "reference", host_toolchain, print)
    assert "\n" not in str(caught.value)
    assert list(target.iterdir()) == []


def test_wrong_sizes_are_refused(program: Program, host_toolchain: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(12))
    with pytest.raises(ValueError, match="weights has 12 bytes, the program expects 160"):
        link_artifact(tmp_path, program, [], tmp_path / "weights", tmp_path / "weights", host_toolchain, print)


def test_a_folder_that_cannot_be_written(program: Program, host_toolchain: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(program.weights_bytes))
    (tmp_path / "reference").write_bytes(bytes(32))
    directory = tmp_path / "weights" / "out"
    with pytest.raises(MissingError, match=f"cannot write to {directory}: Not a directory"):
        link_artifact(directory, program, [], tmp_path / "weights", tmp_path / "reference", host_toolchain, print)


def test_missing_zig(linker: Any, host_toolchain: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linker.kernels(host_toolchain.triple)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pip install ziglang"):
        linker(tmp_path, host_toolchain)


def test_relinking_is_quiet_and_replaces(artifact: ArtifactFiles, linker: Any, host_toolchain: Toolchain) -> None:
    messages: list[str] = []
    directory = artifact.library.parent
    before = sorted(path.name for path in directory.iterdir())
    assert linker(directory, host_toolchain, progress=messages.append) == artifact
    assert messages == []
    assert sorted(path.name for path in directory.iterdir()) == before
