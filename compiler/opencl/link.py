"""Link weights, kernels' source and the generated C into the files of an artifact for GPUs."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.emit_c import emit_check
from mnv3c.compiler.link import (
    BENCH_COMMON_SOURCES,
    BIONIC_FLAGS,
    RUNTIME,
    bionic_stubs,
    require_size,
    runtime_files,
    write_blob,
    writing_to,
)
from mnv3c.compiler.opencl.emit import emit_gpu_header, emit_gpu_program
from mnv3c.compiler.opencl.program import GpuProgram
from mnv3c.compiler.opencl.source import kernel_source
from mnv3c.compiler.zig import Zig
from mnv3c.targets.toolchain import Toolchain

_OWN_RUNTIME = Path(__file__).with_name("runtime")
_LIBRARY_SOURCES = (
    "gpu_api.c",
    "gpu_build.c",
    "gpu_cache.c",
    "gpu_device.c",
    "gpu_error.c",
    "gpu_limits.c",
    "gpu_open.c",
    "gpu_run.c",
    "gpu_tuning.c",
    "opencl_loader.c",
)
_BENCH_SOURCES = ("gpu_bench.c", "gpu_options.c", "gpu_report.c", "gpu_tune.c")
_BIONIC_STUBS = (
    ("libc.so", RUNTIME / "bionic_libc.c"),
    ("libm.so", RUNTIME / "bionic_libm.c"),
    ("libdl.so", _OWN_RUNTIME / "bionic_libdl.c"),
)
_ANDROIDS_LINKER = "/system/bin/linker64"


@dataclass(frozen=True)
class GpuArtifactFiles:
    """The files that `link_gpu_artifact` leaves in the artifact's folder; `kernels` is there to be read."""

    library: Path
    header: Path
    bench: Path
    kernels: Path


def link_gpu_artifact(
    directory: Path,
    program: GpuProgram,
    weights: Path,
    reference: Path,
    toolchain: Toolchain,
    progress: Callable[[str], None],
    *,
    seed: int = 0,
    tolerance: float = 1e-4,
) -> GpuArtifactFiles:
    """Write libNAME.so, NAME.h, NAME-bench and NAME.cl into `directory`, each whole or not at all.

    `weights`, `reference`, `seed`, `tolerance`, `progress` and what is raised are as for `link.link_artifact`. Library
    and bench are linked dynamically: they open the device's OpenCL when they run.
    """
    require_size(weights, program.weights_bytes)
    require_size(reference, 4 * sum(port.elements for port in program.outputs))
    with writing_to(directory), tempfile.TemporaryDirectory(prefix=f".{program.name}-", dir=directory) as folder:
        work = Path(folder).resolve()  # zig runs in it
        _write_sources(work, program, weights, reference, seed, tolerance)
        built = _build(Zig(work, progress), program.name, toolchain)
        return GpuArtifactFiles(*(path.replace(directory / path.name) for path in built))


def _write_sources(
    work: Path, program: GpuProgram, weights: Path, reference: Path, seed: int, tolerance: float
) -> None:
    source = kernel_source(program)
    name = program.name
    (work / f"{name}.c").write_text(emit_gpu_program(program, source), encoding="utf-8")
    (work / f"{name}.h").write_text(emit_gpu_header(program), encoding="utf-8")
    (work / f"{name}.cl").write_text(source.text, encoding="utf-8")
    (work / "check_data.c").write_text(emit_check(seed, tolerance), encoding="utf-8")
    (work / "exports.map").write_text(f"{{ global: {name}_*; local: *; }};\n", encoding="utf-8")
    for symbol, path in (("weights", weights), ("reference", reference), ("source", work / f"{name}.cl")):
        write_blob(work, symbol, path)


def _build(zig: Zig, name: str, toolchain: Toolchain) -> tuple[Path, ...]:
    include = (f"-I{RUNTIME}", f"-I{_OWN_RUNTIME}")
    own = (f"{name}.c", "weights.S", "source.S", *runtime_files(("network.c",)), *_own_files(_LIBRARY_SOURCES))
    check = ("check_data.c", "reference.S", *runtime_files(BENCH_COMMON_SOURCES), *_own_files(_BENCH_SOURCES))
    shared = ("-shared", f"-Wl,-soname,lib{name}.so", "-Wl,--version-script=exports.map", "-Wl,-z,defs")
    link = _link_for_android if toolchain.android else _link
    library, bench = link(zig, name, toolchain, (*include, *toolchain.cpu_flags), own, check, shared)
    return library, zig.work / f"{name}.h", bench, zig.work / f"{name}.cl"


def _link(
    zig: Zig,
    name: str,
    toolchain: Toolchain,
    flags: Sequence[str],
    own: Sequence[str],
    check: Sequence[str],
    shared: Sequence[str],
) -> tuple[Path, Path]:
    network = str(zig.run(toolchain.triple, ("-c", *flags, *own), "network.o"))
    library = zig.link(toolchain.triple, (*shared, network, "-ldl"), f"lib{name}.so")
    return library, zig.link(toolchain.triple, (*flags, *check, network, "-ldl", "-lm"), f"{name}-bench")


def _link_for_android(
    zig: Zig,
    name: str,
    toolchain: Toolchain,
    flags: Sequence[str],
    own: Sequence[str],
    check: Sequence[str],
    shared: Sequence[str],
) -> tuple[Path, Path]:
    # zig has no bionic. musl's headers declare what the two have in common alike; bionic has no bcmp, which compilers
    # would make of memcmp.
    compiled = ("-c", "-fno-builtin", *flags)
    network = str(zig.run(toolchain.static_triple, (*compiled, *own, *_own_files(("bionic_errno.c",))), "network.o"))
    start = _own_files(("bionic_start.c",))
    rest = str(zig.run(toolchain.static_triple, (*compiled, *check, *start), "bench.o"))
    stubs = bionic_stubs(zig, toolchain.triple, _BIONIC_STUBS)
    library = zig.run(toolchain.triple, (*shared, *BIONIC_FLAGS, network, *stubs), f"lib{name}.so")
    program = ("-pie", f"-Wl,--dynamic-linker={_ANDROIDS_LINKER}", "-Wl,-z,defs", *BIONIC_FLAGS)
    return library, zig.run(toolchain.triple, (*program, rest, network, *stubs), f"{name}-bench")


def _own_files(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(_OWN_RUNTIME / name) for name in names)
