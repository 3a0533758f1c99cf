"""Measuring GPU kernels through PoCL: written and compiled in workers, checked and timed in the runner process."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.opencl.program import GpuKernel
from mnv3c.compiler.opencl.target import OpenClTarget
from mnv3c.compiler.opencl.tune.builder import GpuJob, make_builder
from mnv3c.compiler.opencl.tune.runner import GpuSetup, GpuTrialKernel, make_runner
from mnv3c.compiler.tune.case import Case
from mnv3c.compiler.tune.host_measure import BUILD_SHARE
from mnv3c.compiler.tune.measure import Measurement, Trial
from mnv3c.compiler.tune.pool import WorkerPool
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.trial_runner import TrialRunner
from mnv3c.compiler.tune.turns import Turns
from mnv3c.compiler.tune.work import given_tensors, output_of
from mnv3c.compiler.tune.worker import RequestFailedError
from mnv3c.graph.errors import MissingError
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import Candidate

D = TypeVar("D", bound=Device)
# PoCL keeps every core busy, so turns differ more than those of one thread; more of them would tell less than another
# candidate does.
_TURNS = Turns(final_turns=40, limit_s=0.3)


class PoclMeasure(Generic[D]):
    """Measures through PoCL. `folder` is for what is needed meanwhile; `close` ends all processes."""

    def __init__(
        self,
        target: OpenClTarget[D],
        device: D,
        cache: FileCache,
        folder: Path,
        turns: Turns = _TURNS,
        kernel_limit_s: float = 15.0,
        build_limit_s: float = 60.0,
    ) -> None:
        self._target, self._device, self._cache, self._folder = target, device, cache, folder
        compiled = folder / "pocl"
        compiled.mkdir(exist_ok=True)
        self._builders = WorkerPool(partial(make_builder, compiled), build_limit_s)
        make = partial(make_runner, compiled)
        self._runner = TrialRunner[GpuSetup, GpuTrialKernel](make, turns, kernel_limit_s, f"{device.name} through PoCL")
        self._count = 0

    def version(self) -> str:
        """PoCL's name and version. Raises MissingError where there is none, which says what to install, or it fails."""
        try:
            return str(self._runner.ask(None))
        except RequestFailedError as failure:
            raise MissingError(f"PoCL does not work here: {failure}") from failure

    def close(self) -> None:
        """End the worker processes."""
        self._runner.close()
        self._builders.close()

    def __call__(self, trials: Sequence[Trial], deadline_s: float) -> Iterator[Measurement]:
        """Build what all trials need, then measure trial by trial."""
        now_s = time.monotonic()
        wanted = [candidate for trial in trials for candidate in trial.all]
        built = self._build(wanted, now_s + BUILD_SHARE * (deadline_s - now_s))
        for trial in trials:
            kernels = []
            for candidate in trial.all:
                kernel = built.get(candidate)
                if isinstance(kernel, GpuKernel):
                    kernels.append(GpuTrialKernel(kernel, candidate))
                elif kernel is not None and candidate != trial.anchor:
                    yield Measurement(trial.task, candidate, "build_error", kernel)
            if kernels and time.monotonic() < deadline_s:
                yield from self._runner.measure(trial, self._setup(trial.task), kernels)

    def _build(self, candidates: Sequence[Candidate], deadline_s: float) -> dict[Candidate, GpuKernel | str]:
        jobs = {each: GpuJob(self._target, self._device, each, self._cache) for each in candidates}
        return self._builders.map(jobs, deadline_s)

    def _setup(self, task: Task) -> GpuSetup:
        self._count += 1
        case, output = Case.of(task.work).save(self._folder / "case.npy"), output_of(task.work)
        elements = self._target.storage_elements(output, self._device)
        storage = tuple(given.storage for given in given_tensors(task.work))
        return GpuSetup(self._count, case, self._target, storage, output, elements)
