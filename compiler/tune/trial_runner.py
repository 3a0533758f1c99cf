"""Trials in a process that a kernel may take down: each candidate checked alone, the right ones timed by turns."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Generic, cast

from mnv3c.compiler.tune.measure import Measurement, Times, Trial
from mnv3c.compiler.tune.record import Status
from mnv3c.compiler.tune.turns import Checked, CheckRequest, K, S, Timed, TimeRequest, Turns
from mnv3c.compiler.tune.worker import Handler, IsolatedWorker, RequestFailedError, WorkerDiedError
from mnv3c.graph.errors import MissingError
from mnv3c.targets.target import Candidate

_PREPARE_LIMIT_S = 60.0
# No kernel worth having does fewer multiply-accumulates a second.
_SLOWEST_MACS_PER_S = 1e7
# Standard error of a median, from the median absolute deviation of normally distributed values.
_MEDIAN_ERROR = 1.2533 * 1.4826


class TrialRunner(Generic[S, K]):
    """Measures the kernels of a trial; `make_handler` gives a `TurnHandler` in the process.

    A kernel has `kernel_limit_s` seconds, and more if there is much to compute. `what` the kernels are for is named
    where not even the conversions of a layer run. `close` ends the process.
    """

    def __init__(self, make_handler: Callable[[], Handler], turns: Turns, kernel_limit_s: float, what: str) -> None:
        self._worker, self._turns = IsolatedWorker(make_handler), turns
        self._kernel_limit_s, self._what = kernel_limit_s, what
        self._prepared = (0, 0)

    def close(self) -> None:
        """End the process; the next trial starts another."""
        self._worker.close()

    def ask(self, request: object) -> object:
        """The answer of the process to a request of its own. Raises MissingError where it dies of it."""
        try:
            return self._worker.call(request, _PREPARE_LIMIT_S)
        except WorkerDiedError as death:
            raise MissingError(f"this machine cannot run kernels for {self._what}: {death}") from death

    def measure(self, trial: Trial, setup: S, kernels: Sequence[K]) -> Iterator[Measurement]:
        """One measurement for each kernel but the anchor's, which comes first where there is one."""
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

    def _check(self, trial: Trial, setup: S, kernel: K) -> Checked | Measurement:
        limit_s = self._kernel_limit_s + trial.task.macs / _SLOWEST_MACS_PER_S
        try:
            checked = cast(Checked, self._run(setup, CheckRequest(setup, kernel), limit_s))
        except RequestFailedError as failure:
            return Measurement(trial.task, kernel.candidate, "wrong", str(failure))
        except WorkerDiedError as death:
            return Measurement(trial.task, kernel.candidate, death.status, str(death))
        return self._failure(trial, kernel, checked) or checked

    def _failure(self, trial: Trial, kernel: K, checked: Checked) -> Measurement | None:
        if checked.tainted:
            self._worker.close()
        return Measurement(trial.task, kernel.candidate, "wrong", checked.problem) if checked.problem else None

    def _run(self, setup: S, request: CheckRequest[S, K] | TimeRequest[S, K], limit_s: float) -> object:
        if self._prepared != (setup.number, self._worker.starts) or not self._worker.alive:
            self._prepare(setup)
            self._prepared = (setup.number, self._worker.starts)
        return self._worker.call(request, limit_s)

    def _prepare(self, setup: S) -> None:
        # Only layout conversions run: no candidate is to blame.
        self.ask(setup)

    def _time(self, trial: Trial, setup: S, kernels: Sequence[K], slowest_us: float) -> Iterator[Measurement]:
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
            self._worker.close()
            for kernel in kernels:
                yield from self._time(trial, setup, [kernel], slowest_us)
            return
        for kernel, each in zip(kernels, timed, strict=True):
            failed = self._failure(trial, kernel, each.checked)
            times = _times(each, timed[0], kernels[0].candidate)
            yield from _unless_anchor(failed or Measurement(trial.task, kernel.candidate, "ok", times=times), trial)


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
