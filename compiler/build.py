"""Kernels to object files: TVM compiles each once, several at a time, and the cache keeps them."""

import difflib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnv3c.compiler.cache import FileCache, content_key, file_fingerprint, generator_fingerprint, toolchain_versions
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.targets.target import Candidate

# Starting a worker takes a second to import TVM: below this many kernels that costs more than it saves.
_KERNELS_WORTH_WORKERS = 12


@dataclass(frozen=True)
class KernelJob:
    """A candidate to be compiled. Equal jobs have equal symbols and share one object."""

    candidate: Candidate
    llvm_target: str

    @staticmethod
    def of(candidate: Candidate, llvm_target: Mapping[str, object]) -> "KernelJob":
        """The job of a candidate for a TVM target."""
        return KernelJob(candidate, json.dumps(llvm_target, sort_keys=True))

    @property
    def key(self) -> str:
        """What the object depends on: the candidate, the processor, the code that generates it, the compilers."""
        return content_key(
            "kernel/1",
            repr(self.candidate),
            self.llvm_target,
            generator_fingerprint(type(self.candidate)),
            file_fingerprint(__file__),
            toolchain_versions(),
        )

    @property
    def symbol(self) -> str:
        """The kernel's name in C."""
        return f"{self.candidate.family}_{content_key(repr(self.candidate))[:10]}"


def build_kernel(job: KernelJob, path: Path) -> None:
    """Compile one kernel into an object file."""
    kernel = {job.symbol: job.candidate.build(job.symbol)}
    compile_prim_funcs(kernel, json.loads(job.llvm_target)).write_to_file(str(path))


def compile_prim_funcs(functions: Mapping[str, Any], llvm_target: Mapping[str, object]) -> Any:
    """Kernels by symbol as one TVM module, which can be called or written to a file.

    Without assertions it asks nothing of a TVM runtime. Storage rewriting would turn accumulators into memory.
    """
    import tvm

    config = {"tirx.disable_assert": True, "tirx.disable_storage_rewrite": True}
    with tvm.transform.PassContext(opt_level=3, config=config):
        return tvm.tirx.build(tvm.IRModule(dict(functions)), target=tvm.target.Target(dict(llvm_target)))


def build_kernels(
    jobs: Sequence[KernelJob], cache: FileCache, done: Callable[[int, int], None] = lambda count, total: None
) -> dict[KernelJob, Path]:
    """The object file of every job; `done(count, total)` is told as missing ones are compiled."""
    unique = {job.key: job for job in jobs}
    missing = [job for key, job in unique.items() if not cache.path(key, ".o").is_file()]
    for llvm_target in sorted({job.llvm_target for job in missing}):
        _require_known_cpu(json.loads(llvm_target))
    workers = min(len(os.sched_getaffinity(0)), 8) if len(missing) >= _KERNELS_WORTH_WORKERS else 1
    if workers > 1:
        # Spawned, not forked: a fork of a process with TVM's threads can hang.
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(workers, mp_context=context) as pool:
                with _interrupts_held():
                    built = pool.map(_build_into, missing, [cache] * len(missing))
                for count, _ in enumerate(built, start=1):
                    done(count, len(missing))
        except BrokenProcessPool:
            raise MissingError("a worker that compiles kernels was killed; is there too little memory?") from None
    else:
        for count, job in enumerate(missing, start=1):
            _build_into(job, cache)
            done(count, len(missing))
    return {job: cache.path(job.key, ".o") for job in jobs}


def _require_known_cpu(llvm_target: Mapping[str, object]) -> None:
    """LLVM would only warn, and compile for its generic processor."""
    import tvm

    codegen, cpu = tvm.target.codegen, str(llvm_target["mcpu"])
    known = [str(name) for name in codegen.llvm_get_cpu_archlist(tvm.target.Target({**llvm_target, "mcpu": "generic"}))]
    if known and cpu not in known:
        close = difflib.get_close_matches(cpu, known, n=3) or known[:5]
        raise UserError(f"device: llvm.cpu: LLVM has no '{cpu}' for {llvm_target['mtriple']}; near: {', '.join(close)}")


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal; workers started in here leave it to this one and end their kernel."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _build_into(job: KernelJob, cache: FileCache) -> Path:
    return cache.get(job.key, ".o", lambda path: build_kernel(job, path))
