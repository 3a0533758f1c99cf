"""Link kernels, weights and the generated C into the files of an artifact."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.emit_c import emit_blob, emit_check, emit_header, emit_program
from mnv3c.compiler.program import Program
from mnv3c.compiler.zig import Zig
from mnv3c.graph.errors import MissingError
from mnv3c.targets.toolchain import Toolchain

_RUNTIME = Path(__file__).with_name("runtime")
_LIBRARY_SOURCES = ("engine.c", "pool.c", "tvm_backend.c")
_BENCH_SOURCES = ("bench.c", "bench_options.c", "bench_report.c", "check.c", "cpu_info.c")
_BIONIC_STUBS = (("libc.so", "bionic_libc.c"), ("libm.so", "bionic_libm.c"))
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
    _require_size(weights, program.weights_bytes)
    _require_size(reference, 4 * sum(port.elements for port in program.outputs))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{program.name}-", dir=directory) as folder:
            work = Path(folder).resolve()  # zig runs in it
            _write_sources(work, program, weights, reference, seed, tolerance)
            built = _build(Zig(work, progress), program.name, [path.resolve() for path in objects], toolchain)
            return ArtifactFiles(*(path.replace(directory / path.name) for path in built))
    except OSError as error:
        raise MissingError(f"cannot write to {error.filename or directory}: {error.strerror or error}") from error


def _require_size(path: Path, expected_bytes: int) -> None:
    actual_bytes = path.stat().st_size
    if actual_bytes != expected_bytes:
        raise ValueError(f"{path} has {actual_bytes} bytes, the program expects {expected_bytes}")


def _write_sources(work: Path, program: Program, weights: Path, reference: Path, seed: int, tolerance: float) -> None:
    for name, path in (("weights", weights), ("reference", reference)):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        (work / f"{name}.bin").symlink_to(path.resolve())
        (work / f"{name}.S").write_text(emit_blob(f"mnv3c_{name}", f"{name}.bin", digest), encoding="utf-8")
    name = program.name
    (work / f"{name}.c").write_text(emit_program(program), encoding="utf-8")
    (work / f"{name}.h").write_text(emit_header(program), encoding="utf-8")
    (work / "check_data.c").write_text(emit_check(seed, tolerance), encoding="utf-8")
    (work / "exports.map").write_text(f"{{ global: {name}_*; local: *; }};\n", encoding="utf-8")


def _build(zig: Zig, name: str, objects: Sequence[Path], toolchain: Toolchain) -> tuple[Path, Path, Path]:
    # The network's own code uses no type that differs between libcs: one object serves library and bench.
    sources = (f"{name}.c", "weights.S", *_runtime_files(_LIBRARY_SOURCES))
    network = zig.run(toolchain.triple, ("-c", f"-I{_RUNTIME}", *toolchain.cpu_flags, *sources), "network.o")
    parts = [str(path) for path in (network, *objects)]
    library = _link_library(zig, f"lib{name}.so", parts, toolchain)
    check = ("check_data.c", "reference.S", *_runtime_files(_BENCH_SOURCES))
    stack = f"-Wl,-z,stack-size={_MUSL_THREAD_STACK_BYTES}"
    bench = zig.link(toolchain.static_triple, ("-static", stack, f"-I{_RUNTIME}", *check, *parts), f"{name}-bench")
    return library, zig.work / f"{name}.h", bench


def _runtime_files(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(_RUNTIME / name) for name in names)


def _link_library(zig: Zig, file_name: str, parts: Sequence[str], toolchain: Toolchain) -> Path:
    # Local symbols keep two networks in one process apart: both define kernels, and both define the backend's pointers.
    shared = ("-shared", f"-Wl,-soname,{file_name}", "-Wl,--version-script=exports.map", "-Wl,-z,defs")
    if not toolchain.android:
        return zig.link(toolchain.triple, (*shared, *parts, "-pthread", "-lm"), file_name)
    stubs = []
    for stub, source in _BIONIC_STUBS:
        flags = ("-shared", "-nostdlib", "-fno-builtin", f"-Wl,-soname,{stub}", *_runtime_files((source,)))
        stubs.append(zig.run(toolchain.triple, flags, stub).name)
    # Android 15 has devices with pages of 16 KiB.
    return zig.run(toolchain.triple, (*shared, "-nostdlib", "-Wl,-z,max-page-size=16384", *parts, *stubs), file_name)
