"""Kernels to object files: TVM compiles each once, several at a time, and the cache keeps them."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.cache import FileCache, content_key, source_fingerprint, toolchain_versions
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
        package = type(self.candidate).__module__.rpartition(".")[0]
        return content_key(
            "kernel/1", repr(self.candidate), self.llvm_target, source_fingerprint(package), toolchain_versions()
        )

    @property
    def symbol(self) -> str:
        """The kernel's name in C."""
        return f"{self.candidate.family}_{content_key(repr(self.candidate))[:10]}"


def build_kernel(job: KernelJob, path: Path) -> None:
    """Compile one kernel into an object file."""
    import tvm

    module = tvm.IRModule({job.symbol: job.candidate.build(job.symbol)})
    target = tvm.target.Target(json.loads(job.llvm_target))
    with tvm.transform.PassContext(opt_level=3, config={"tirx.disable_assert": True}):
        tvm.tirx.build(module, target=target).write_to_file(str(path))


def build_kernels(
    jobs: Sequence[KernelJob], cache: FileCache, done: Callable[[int, int], None] = lambda count, total: None
) -> dict[KernelJob, Path]:
    """The object file of every job; `done(count, total)` is told as missing ones are compiled."""
    unique = {job.key: job for job in jobs}
    missing = [job for key, job in unique.items() if not cache.path(key, ".o").is_file()]
    workers = min(len(os.sched_getaffinity(0)), 8) if len(missing) >= _KERNELS_WORTH_WORKERS else 1
    if workers > 1:
        # Spawned, not forked: a fork of a process with TVM's threads can hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            with _interrupts_held():
                built = pool.map(_build_into, missing, [cache] * len(missing))
            for count, _ in enumerate(built, start=1):
                done(count, len(missing))
    else:
        for count, job in enumerate(missing, start=1):
            _build_into(job, cache)
            done(count, len(missing))
    return {job: cache.path(job.key, ".o") for job in jobs}


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
