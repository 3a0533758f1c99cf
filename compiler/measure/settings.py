"""How measurements are made: counts, bounds, patience."""

import math
from dataclasses import dataclass

_LEAST_RUNS, _MOST_RUNS = 10, 1000
_ROUND_S = 0.02


@dataclass(frozen=True)
class Settings:
    """Options of a campaign.

    A round starts a bench anew, warms it up and times `runs` inferences; None: as many as take 20 ms, 10 at least.
    There are `rounds` of them, and up to `most_rounds` while the median is less certain than `max_noise` (relative).
    `cpu` is the first CPU to run on; None: wherever the system likes.
    """

    threads: int = 1
    runs: int | None = None
    rounds: int = 15
    most_rounds: int = 60
    max_noise: float = 0.05
    cpu: int | None = None

    @property
    def bench_words(self) -> tuple[str, ...]:
        """What every call of a bench is given."""
        return ("--json", "--threads", str(self.threads), *(("--cpu", str(self.cpu)) if self.cpu is not None else ()))

    def runs_of(self, run_s: float) -> int:
        """Timed runs in a round of a program whose run takes so long."""
        return self.runs or min(_MOST_RUNS, max(_LEAST_RUNS, math.ceil(_ROUND_S / run_s)))


@dataclass(frozen=True)
class Patience:
    """What is done when a device goes away: wait, twice as long each time, and try again.

    After `attempts` in a row without any progress it counts as gone; after `first_attempts` if it has never answered.
    """

    attempts: int = 8
    first_attempts: int = 3
    first_wait_s: float = 1.0
    most_wait_s: float = 60.0

    def wait_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        return float(min(self.most_wait_s, self.first_wait_s * 2.0 ** min(failures - 1, 30)))
