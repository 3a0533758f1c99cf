"""What the search asks of whoever measures, and what it hears."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mnv3c.compiler.tune.record import Status
from mnv3c.compiler.tune.space import Task
from mnv3c.targets.target import Candidate


@dataclass(frozen=True)
class Trial:
    """Candidates of a layer to be measured beside `anchor`, which has been measured before (None at first)."""

    task: Task
    anchor: Candidate | None
    candidates: tuple[Candidate, ...]

    @property
    def all(self) -> tuple[Candidate, ...]:
        """The anchor, where there is one, and the candidates."""
        return self.candidates if self.anchor is None else (self.anchor, *self.candidates)


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
