"""Link kernels, weights and the generated C into the files of an artifact."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.emit_c import emit_blob, emit_check, emit_header, emit_program
from mnv3c.compiler.program import Program
from mnv3c.compiler.zig import Zig
from mnv3c.graph.errors import MissingError
from mnv3c.targets.toolchain import Toolchain

RUNTIME = Path(__file__).with_name("runtime")
_LIBRARY_SOURCES = ("engine.c", "network.c", "pool.c", "tvm_backend.c")
# What the bench of any kind of program is made of.
BENCH_COMMON_SOURCES = ("bench_common.c", "check.c", "check_report.c", "option_table.c", "report_parts.c")
_BENCH_SOURCES = (*BENCH_COMMON_SOURCES, "bench.c", "bench_options.c", "bench_report.c", "cpu_info.c")
_BIONIC_STUBS = (("libc.so", RUNTIME / "bionic_libc.c"), ("libm.so", RUNTIME / "bionic_libm.c"))
# Android 15 has devices with pages of 16 KiB.
BIONIC_FLAGS = ("-nostdlib", "-Wl,-z,max-page-size=16384")
_MUSL_THREAD_STACK_BYTES = 8 << 20  # musl's default of 128 KiB is tight for kernels with local buffers


@dataclass(frozen=True)
class ArtifactFiles:
    """The files that `link_artifact` leaves in the artifact's folder."""

    library: Path
    header: Path
    bench: Path


def link_artifact(
    directory: Path,
    program: Program,
    objects: Sequence[Path],
    weights: Path,
    reference: Path,
    toolchain: Toolchain,
    progress: Callable[[str], None],
    *,
    seed: int = 0,
    tolerance: float = 1e-4,
) -> ArtifactFiles:
    """Write libNAME.so, NAME.h and NAME-bench into `directory`, each whole or not at all.

    `objects` define the kernels that `program` calls. `weights` is the program's constants as one file; `reference`
    holds its outputs for `check_input(elements, seed)`, float32, one after another; the bench's `--check` passes when
    each output's largest error is at most `tolerance` times its largest reference value. `progress` hears of slow
    steps.

    Raises `MissingError` where zig, space or permission is lacking, `LinkError` where zig refuses, and `ValueError`
    where a file does not have the size that the program gives it.
    """
    require_size(weights, program.weights_bytes)
    require_size(reference, 4 * sum(port.elements for port in program.outputs))
    with writing_to(directory), tempfile.TemporaryDirectory(prefix=f".{program.name}-", dir=directory) as folder:
        work = Path(folder).resolve()  # zig runs in it
        _write_sources(work, program, weights, reference, seed, tolerance)
        built = _build(Zig(work, progress), program.name, [path.resolve() for path in objects], toolchain)
        return ArtifactFiles(*(path.replace(directory / path.name) for path in built))


@contextmanager
def writing_to(directory: Path) -> Iterator[None]:
    """Make a folder; what the system then refuses becomes a MissingError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise MissingError(f"cannot write to {error.filename or directory}: {error.strerror or error}") from error


def require_size(path: Path, expected_bytes: int) -> None:
    """Raise ValueError for a file that does not have the size that a program gives it."""
    actual_bytes = path.stat().st_size
    if actual_bytes != expected_bytes:
        raise ValueError(f"{path} has {actual_bytes} bytes, the program expects {expected_bytes}")


def _write_sources(work: Path, program: Program, weights: Path, reference: Path, seed: int, tolerance: float) -> None:
    for symbol, path in (("weights", weights), ("reference", reference)):
        write_blob(work, symbol, path)
    name = program.name
    (work / f"{name}.c").write_text(emit_program(program), encoding="utf-8")
    (work / f"{name}.h").write_text(emit_header(program), encoding="utf-8")
    (work / "check_data.c").write_text(emit_check(seed, tolerance), encoding="utf-8")
    (work / "exports.map").write_text(f"{{ global: {name}_*; local: *; }};\n", encoding="utf-8")


def write_blob(work: Path, name: str, path: Path) -> None:
    """Write NAME.S, which defines `mnv3c_NAME` as a file's contents, and the link to the file that it includes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (work / f"{name}.bin").symlink_to(path.resolve())
    (work / f"{name}.S").write_text(emit_blob(f"mnv3c_{name}", f"{name}.bin", digest), encoding="utf-8")


def _build(zig: Zig, name: str, objects: Sequence[Path], toolchain: Toolchain) -> tuple[Path, Path, Path]:
    # The network's own code uses no type that differs between libcs: one object serves library and bench.
    sources = (f"{name}.c", "weights.S", *runtime_files(_LIBRARY_SOURCES))
    network = zig.run(toolchain.triple, ("-c", f"-I{RUNTIME}", *toolchain.cpu_flags, *sources), "network.o")
    parts = [str(path) for path in (network, *objects)]
    library = _link_library(zig, f"lib{name}.so", parts, toolchain)
    check = ("check_data.c", "reference.S", *runtime_files(_BENCH_SOURCES))
    stack = f"-Wl,-z,stack-size={_MUSL_THREAD_STACK_BYTES}"
    bench = zig.link(toolchain.static_triple, ("-static", stack, f"-I{RUNTIME}", *check, *parts), f"{name}-bench")
    return library, zig.work / f"{name}.h", bench


def runtime_files(names: Sequence[str]) -> tuple[str, ...]:
    """Paths of files of the runtime."""
    return tuple(str(RUNTIME / name) for name in names)


def _link_library(zig: Zig, file_name: str, parts: Sequence[str], toolchain: Toolchain) -> Path:
    # Local symbols keep two networks in one process apart: both define kernels, and both define the backend's pointers.
    shared = ("-shared", f"-Wl,-soname,{file_name}", "-Wl,--version-script=exports.map", "-Wl,-z,defs")
    if not toolchain.android:
        return zig.link(toolchain.triple, (*shared, *parts, "-pthread", "-lm"), file_name)
    stubs = bionic_stubs(zig, toolchain.triple, _BIONIC_STUBS)
    return zig.run(toolchain.triple, (*shared, *BIONIC_FLAGS, *parts, *stubs), file_name)


def bionic_stubs(zig: Zig, triple: str, libraries: Sequence[tuple[str, Path]]) -> list[str]:
    """Shared libraries with the names of Android's, made of sources that say what those define; files in `zig.work`."""
    flags = ("-shared", "-nostdlib", "-fno-builtin")
    return [zig.run(triple, (*flags, f"-Wl,-soname,{name}", str(source)), name).name for name, source in libraries]
