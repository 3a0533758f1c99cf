"""Measuring candidates on this machine: built in workers, checked and timed in the runner process."""

import math
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mnv3c.compiler.build import KernelJob
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.tune.case import Case
from mnv3c.compiler.tune.kernels import KernelFactory
from mnv3c.compiler.tune.measure import Measurement, Trial
from mnv3c.compiler.tune.runner import Kernel, Setup, make_runner
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.trial_runner import TrialRunner
from mnv3c.compiler.tune.turns import Turns
from mnv3c.compiler.tune.work import border_works, given_tensors, output_of
from mnv3c.graph.errors import MissingError
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import BorderWork, Candidate, Target

# How platform.machine() spells an architecture on other systems.
_SPELLINGS = {"AMD64": "x86_64", "arm64": "aarch64"}
# What is built and not measured before the deadline is lost.
BUILD_SHARE = 0.7


def require_host(target: Target) -> None:
    """Raise MissingError unless this machine runs the target's programs."""
    machine = platform.machine()
    if _SPELLINGS.get(machine, machine) != target.architecture:
        raise MissingError(
            f"target '{target.name}' cannot be measured here: it needs a machine of {target.architecture}, "
            f"this one is {machine}"
        )


class HostMeasure:
    """Measures on this machine. `folder` is for what is needed meanwhile; `close` ends all processes."""

    def __init__(
        self,
        target: Target,
        device: CpuDevice,
        cache: FileCache,
        folder: Path,
        threads: int = 1,
        turns: Turns | None = None,
        kernel_limit_s: float = 5.0,
        build_limit_s: float = 60.0,
    ) -> None:
        require_host(target)
        self._target, self._device, self._folder, self._threads = target, device, folder, threads
        self._factory = KernelFactory(cache, target.toolchain(device, "linux"), folder, build_limit_s)
        self._runner = TrialRunner[Setup, Kernel](make_runner, turns or Turns(), kernel_limit_s, device.name)
        self._conversions: dict[KernelJob, Kernel] = {}
        self._count = 0

    def close(self) -> None:
        """End the worker processes."""
        self._runner.close()
        self._factory.close()

    def __call__(self, trials: Sequence[Trial], deadline_s: float) -> Iterator[Measurement]:
        """Build what all trials need, then measure trial by trial."""
        jobs = {candidate: self._job(candidate) for trial in trials for candidate in trial.all}
        borders = [tuple(map(self._border, border_works(trial.task.work))) for trial in trials]
        # The conversions, each needed by many layers, come whatever the time.
        self._link_borders([job for each in borders for job in each if job])
        now_s = time.monotonic()
        built = self._factory.build(jobs.values(), now_s + BUILD_SHARE * (deadline_s - now_s))
        objects = {job: path for job, path in built.items() if isinstance(path, Path)}
        libraries, unlinked = self._factory.link(objects) if objects else ({}, {})
        problems = unlinked | {job: text for job, text in built.items() if isinstance(text, str)}
        for trial, conversions in zip(trials, borders, strict=True):
            kernels = []
            for candidate in trial.all:
                job = jobs[candidate]
                if job in libraries:
                    kernels.append(Kernel(libraries[job], job.symbol, candidate))
                elif job in problems and candidate != trial.anchor:
                    yield Measurement(trial.task, candidate, "build_error", problems[job])
            if kernels and time.monotonic() < deadline_s:
                yield from self._measure_layer(trial, kernels, conversions)
        for library in set(libraries.values()):
            library.unlink(missing_ok=True)

    def _job(self, candidate: Candidate) -> KernelJob:
        return KernelJob.of(candidate, self._target.llvm_target(self._device))

    def _border(self, work: BorderWork | None) -> KernelJob | None:
        return None if work is None else self._job(self._target.border(work, self._device))

    def _link_borders(self, jobs: Sequence[KernelJob]) -> None:
        missing = [job for job in dict.fromkeys(jobs) if job not in self._conversions]
        if not missing:
            return
        objects = self._factory.build(missing, math.inf)
        failed = [path for path in objects.values() if isinstance(path, str)]
        libraries, unlinked = self._factory.link({job: Path(path) for job, path in objects.items()})
        if failed or unlinked:
            raise RuntimeError(f"a layout conversion cannot be built: {[*failed, *unlinked.values()][0]}")
        self._conversions |= {job: Kernel(libraries[job], job.symbol, job.candidate) for job in missing}

    def _measure_layer(
        self, trial: Trial, kernels: Sequence[Kernel], borders: Sequence[KernelJob | None]
    ) -> Iterator[Measurement]:
        path = Case.of(trial.task.work).save(self._folder / "case.npy")
        setup = self._setup(trial.task, path, [self._conversions[job] if job else None for job in borders])
        yield from self._runner.measure(trial, setup, kernels)

    def _setup(self, task: Task, case: Path, conversions: Sequence[Kernel | None]) -> Setup:
        self._count += 1
        *inputs, deliver = conversions
        assert deliver is not None

        def elements(tensor: TensorType) -> int:
            return self._target.storage_elements(tensor, self._device)

        stored = (
            (elements(given.type), kernel) if kernel else None
            for given, kernel in zip(given_tensors(task.work), inputs, strict=True)
        )
        output_elements, cache_bytes = elements(output_of(task.work)), self._device.cache.l2_bytes
        return Setup(self._count, case, tuple(stored), output_elements, deliver, self._threads, cache_bytes)
