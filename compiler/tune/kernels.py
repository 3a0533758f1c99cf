"""Kernels for the runner: candidates to objects in worker processes, objects to one shared library."""

import errno
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from mnv3c.compiler.build import KernelJob, build_kernel
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.tune.pool import WorkerPool
from mnv3c.compiler.zig import LinkError, Zig
from mnv3c.targets.toolchain import Toolchain

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_RUNTIME = Path(__file__).parents[1] / "runtime"
_SOURCES = (Path(__file__).with_name("timing.c"), _RUNTIME / "pool.c", _RUNTIME / "tvm_backend.c")


def make_builder() -> "Builder":
    """What a worker process answers with. TVM is imported before any time is taken."""
    import_module("tvm")
    return Builder()


class Builder:
    """Builds one kernel into the cache."""

    def __call__(self, request: tuple[KernelJob, FileCache]) -> Path:
        """The object file. Raises whatever the candidate or TVM raises."""
        job, cache = request
        return cache.get(job.key, ".o", lambda path: _build(job, path))


def _build(job: KernelJob, path: Path) -> None:
    """As `build_kernel`; where there is room, an OSError is the candidate's and not the disk's."""
    try:
        build_kernel(job, path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


class KernelFactory:
    """Builds candidates, each failing alone. `folder` holds the libraries; `close` ends the workers."""

    def __init__(self, cache: FileCache, toolchain: Toolchain, folder: Path, build_limit_s: float):
        self._cache, self._toolchain, self._folder = cache, toolchain, folder
        self._pool = WorkerPool(make_builder, build_limit_s)
        self._runtime: tuple[str, ...] = ()
        self._libraries = 0

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def build(self, jobs: Iterable[KernelJob], deadline_s: float) -> dict[KernelJob, Path | str]:
        """The object of each job, or why there is none. Jobs not begun by `deadline_s` (monotonic) are left out.

        Raises MissingError without space on the disk.
        """
        unique = dict.fromkeys(jobs)
        built: dict[KernelJob, Path | str] = {}
        missing = []
        for job in unique:
            path = self._cache.path(job.key, ".o")
            if path.is_file():
                built[job] = path
            else:
                missing.append(job)
        built |= self._pool.map({job: (job, self._cache) for job in missing}, deadline_s)
        return built

    def link(self, objects: Mapping[KernelJob, Path]) -> tuple[dict[KernelJob, Path], dict[KernelJob, str]]:
        """The library of each object, as few as can be, and why an object cannot be linked."""
        try:
            library = self._link(sorted(set(objects.values())))
            return dict.fromkeys(objects, library), {}
        except LinkError as error:
            if len(objects) == 1:
                return {}, dict.fromkeys(objects, str(error))
        jobs = list(objects)
        linked: dict[KernelJob, Path] = {}
        failed: dict[KernelJob, str] = {}
        for half in (jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]):
            good, bad = self.link({job: objects[job] for job in half})
            linked, failed = linked | good, failed | bad
        return linked, failed

    def _link(self, objects: Sequence[Path]) -> Path:
        self._libraries += 1
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            zig = Zig(Path(folder).resolve(), lambda text: None)
            triple = self._toolchain.triple
            if not self._runtime:
                self._runtime = tuple(self._compiled(zig, source) for source in _SOURCES)
            shared = ("-shared", "-Wl,-Bsymbolic", "-Wl,-z,defs", "-Wl,-z,now")
            parts = (*self._runtime, *(str(path.resolve()) for path in objects))
            library = zig.link(triple, (*shared, *parts, "-pthread", "-lm"), f"kernels-{self._libraries}.so")
            return library.replace(self._folder / library.name)

    def _compiled(self, zig: Zig, source: Path) -> str:
        arguments = ("-c", f"-I{_RUNTIME}", *self._toolchain.cpu_flags, str(source))
        compiled = zig.run(self._toolchain.triple, arguments, f"{source.stem}.o")
        return str(compiled.replace(self._folder.resolve() / compiled.name))
