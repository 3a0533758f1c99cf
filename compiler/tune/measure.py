"""Measuring candidates on this machine: built in workers, checked and timed in the runner process."""

import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal, Protocol, cast

from mnv3c.compiler.build import KernelJob
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.tune.case import Case
from mnv3c.compiler.tune.kernels import KernelFactory
from mnv3c.compiler.tune.record import Status
from mnv3c.compiler.tune.runner import Checked, CheckRequest, Kernel, Runner, Setup, Timed, TimeRequest, Turns
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.work import given_tensors, output_of
from mnv3c.compiler.tune.worker import IsolatedWorker, RequestFailedError, WorkerDiedError
from mnv3c.graph.errors import MissingError
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import BorderWork, Candidate, Target

# How platform.machine() spells an architecture on other systems.
_SPELLINGS = {"AMD64": "x86_64", "arm64": "aarch64"}
_PREPARE_LIMIT_S = 60.0
# What is built and not measured before the deadline is lost.
_BUILD_SHARE = 0.7
# No kernel worth having does fewer multiply-accumulates a second.
_SLOWEST_MACS_PER_S = 1e7
# Standard error of a median, from the median absolute deviation of normally distributed values.
_MEDIAN_ERROR = 1.2533 * 1.4826


@dataclass(frozen=True)
class Trial:
    """Candidates of a layer to be measured beside `anchor`, which has been measured before (None at first)."""

    task: Task
    anchor: Candidate | None
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Times:
    """Times of `n` calls, in microseconds, and of the candidate `baseline` in the same turns, as in `Record`."""

    median_us: float
    min_us: float
    n: int
    baseline: Candidate
    baseline_us: float
    ratio: float
    ratio_error: float


@dataclass(frozen=True)
class Measurement:
    """What came of a candidate: times where it is ok, a reason where not."""

    task: Task
    candidate: Candidate
    status: Status
    reason: str = ""
    times: Times | None = None


class Measure(Protocol):
    """Measures trials one after another; those not begun by `deadline_s` on the monotonic clock are left out."""

    def __call__(self, trials: Sequence[Trial], deadline_s: float) -> Iterator[Measurement]:
        """Yield one measurement for each candidate, as they come."""


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
        self._turns, self._kernel_limit_s = turns or Turns(), kernel_limit_s
        self._factory = KernelFactory(cache, target.toolchain(device, "linux"), folder, build_limit_s)
        self._runner = IsolatedWorker(Runner)
        self._conversions: dict[KernelJob, Kernel] = {}
        self._prepared, self._count = (0, 0), 0

    def close(self) -> None:
        """End the worker processes."""
        self._runner.close()
        self._factory.close()

    def __call__(self, trials: Sequence[Trial], deadline_s: float) -> Iterator[Measurement]:
        """Build what all trials need, then measure trial by trial."""
        jobs = {candidate: self._job(candidate) for trial in trials for candidate in _all(trial)}
        borders = [self._borders(trial.task) for trial in trials]
        # The conversions, each needed by many layers, come whatever the time.
        self._link_borders([job for each in borders for job in each if job])
        now_s = time.monotonic()
        built = self._factory.build(jobs.values(), now_s + _BUILD_SHARE * (deadline_s - now_s))
        objects = {job: path for job, path in built.items() if isinstance(path, Path)}
        libraries, unlinked = self._factory.link(objects) if objects else ({}, {})
        problems = unlinked | {job: text for job, text in built.items() if isinstance(text, str)}
        for trial, conversions in zip(trials, borders, strict=True):
            kernels = []
            for candidate in _all(trial):
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

    def _borders(self, task: Task) -> tuple[KernelJob | None, ...]:
        """Conversions of each input that the target stores, and last of the output."""
        inputs = (
            self._border(given.type, "in") if given.storage == "target" else None for given in given_tensors(task.work)
        )
        return (*inputs, self._border(output_of(task.work), "out"))

    def _border(self, tensor: TensorType, direction: Literal["in", "out"]) -> KernelJob:
        return self._job(self._target.border(BorderWork(tensor, "NHWC", direction), self._device))

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
        right, slowest_us = [], 0.0
        for kernel in kernels:
            checked = self._check(trial, setup, kernel)
            if isinstance(checked, Measurement):
                yield from _unless_anchor(checked, trial)
            else:
                right.append(kernel)
                slowest_us = max(slowest_us, checked.time_us)
        if right:
            yield from self._time(trial, setup, right, slowest_us)

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

    def _check(self, trial: Trial, setup: Setup, kernel: Kernel) -> Checked | Measurement:
        limit_s = self._kernel_limit_s + trial.task.macs / _SLOWEST_MACS_PER_S
        try:
            checked = cast(Checked, self._run(setup, CheckRequest(setup, kernel), limit_s))
        except RequestFailedError as failure:
            return Measurement(trial.task, kernel.candidate, "wrong", str(failure))
        except WorkerDiedError as death:
            return Measurement(trial.task, kernel.candidate, death.status, str(death))
        return self._failure(trial, kernel, checked) or checked

    def _failure(self, trial: Trial, kernel: Kernel, checked: Checked) -> Measurement | None:
        if checked.tainted:
            self._runner.close()
        return Measurement(trial.task, kernel.candidate, "wrong", checked.problem) if checked.problem else None

    def _run(self, setup: Setup, request: CheckRequest | TimeRequest, limit_s: float) -> object:
        if self._prepared != (setup.number, self._runner.starts) or not self._runner.alive:
            self._prepare(setup)
            self._prepared = (setup.number, self._runner.starts)
        return self._runner.call(request, limit_s)

    def _prepare(self, setup: Setup) -> None:
        try:
            self._runner.call(setup, _PREPARE_LIMIT_S)
        except WorkerDiedError as death:
            # Only layout conversions have run: no candidate is to blame.
            raise MissingError(f"this machine cannot run kernels for {self._device.name}: {death}") from death

    def _time(self, trial: Trial, setup: Setup, kernels: Sequence[Kernel], slowest_us: float) -> Iterator[Measurement]:
        turns = replace(self._turns, limit_s=self._turns.limit_s * (1 + len(kernels)))
        # The trial turns are taken in any case; a busy machine may need some times as long.
        trial_s = 1e-6 * slowest_us * turns.trial_turns * len(kernels)
        limit_s = self._kernel_limit_s + 4.0 * (turns.limit_s + trial_s)
        try:
            timed = cast(tuple[Timed, ...], self._run(setup, TimeRequest(setup, tuple(kernels), turns), limit_s))
        except (RequestFailedError, WorkerDiedError) as failure:
            if len(kernels) == 1:
                status: Status = failure.status if isinstance(failure, WorkerDiedError) else "wrong"
                yield from _unless_anchor(Measurement(trial.task, kernels[0].candidate, status, str(failure)), trial)
                return
            timed = ()
        if len(kernels) > 1 and (not timed or any(each.checked.tainted for each in timed)):
            # One of them spoils the others: which, each shows alone.
            self._runner.close()
            for kernel in kernels:
                yield from self._time(trial, setup, [kernel], slowest_us)
            return
        for kernel, each in zip(kernels, timed, strict=True):
            failed = self._failure(trial, kernel, each.checked)
            times = _times(each, timed[0], kernels[0].candidate)
            yield from _unless_anchor(failed or Measurement(trial.task, kernel.candidate, "ok", times=times), trial)


def _all(trial: Trial) -> tuple[Candidate, ...]:
    return trial.candidates if trial.anchor is None else (trial.anchor, *trial.candidates)


def _unless_anchor(measurement: Measurement, trial: Trial) -> Iterator[Measurement]:
    """The anchor has its record already."""
    if measurement.candidate != trial.anchor:
        yield measurement


def _times(timed: Timed, baseline: Timed, candidate: Candidate) -> Times:
    # The baseline has taken every turn that this one has.
    pairs = list(zip(timed.times_us, baseline.times_us, strict=False))
    ratios = [own / other for own, other in pairs]
    ratio = median(ratios)
    deviation = median(abs(value - ratio) for value in ratios)
    return Times(
        median_us=median(own for own, _ in pairs),
        min_us=min(own for own, _ in pairs),
        n=len(pairs),
        baseline=candidate,
        baseline_us=median(other for _, other in pairs),
        ratio=ratio,
        ratio_error=_MEDIAN_ERROR * deviation / math.sqrt(len(ratios)),
    )
