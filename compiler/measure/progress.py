"""What is known so far of one program on one device."""

from dataclasses import dataclass, field

from mnv3c.compiler.measure.job import Program
from mnv3c.compiler.measure.samples import BenchReport, Samples, parse_report
from mnv3c.compiler.measure.script import Ran
from mnv3c.compiler.measure.settings import Settings
from mnv3c.compiler.measure.warm_up import probe_counts, steady_after

_MS = 1e-3
_CALLS_A_ROUND = 2
_START_S = 0.01  # of a process


@dataclass
class Progress:
    """A program's way: its outputs are checked, one run tells how long it takes, probes tell the warm-up, then rounds.

    `problem` ends it, as does `done`. `delivered` is whether somebody has been told of the end.
    """

    program: Program
    problem: str | None = None
    checked: bool = False
    first_s: float | None = None
    probes_ms: dict[int, float] = field(default_factory=dict)
    samples: Samples | None = None
    done: bool = False
    delivered: bool = False

    @property
    def open(self) -> bool:
        """Whether there is more to do."""
        return self.problem is None and not self.done

    @property
    def missing_probes(self) -> tuple[int, ...]:
        """Warm-up runs for which there is no probe yet."""
        assert self.first_s is not None
        return tuple(count for count in probe_counts(self.first_s) if count not in self.probes_ms)

    @property
    def call_s(self) -> float:
        """How long a program's turn takes, about."""
        samples = self.samples
        assert samples is not None
        return _CALLS_A_ROUND * (self._run_s * (samples.runs + samples.warmup) + _START_S)

    def take_check(self, run: Ran) -> None:
        """What the bench's comparison with its stored outputs came to."""
        self.checked = True
        if run.status == 1:
            self._fail("its outputs are wrong on this device")
        elif run.problem is not None:
            self._fail(run.problem)

    def take_first(self, run: Ran) -> None:
        """The time of one run."""
        if report := self._report(run):
            self.first_s = report.whole.median_ms * _MS

    def take_probe(self, count: int, run: Ran) -> None:
        """The time after `count` warm-up runs."""
        if report := self._report(run):
            self.probes_ms[count] = report.whole.median_ms

    def take_turn(self, kind: str, run: Ran) -> None:
        """A round's times, of the whole network or profiled."""
        report = self._report(run)
        if report is not None and self.samples is not None:
            self.samples.add(kind, report)

    def begin(self, settings: Settings) -> None:
        """Choose warm-up and runs, once all probes are there."""
        assert self.first_s is not None
        counts = probe_counts(self.first_s)
        warm_up = steady_after(counts, [self.probes_ms[count] for count in counts])
        self.samples = Samples(self.program, settings.runs_of(self._run_s), warm_up)

    def finish(self, settings: Settings) -> None:
        """End the rounds if there are enough of them."""
        samples = self.samples
        if self.open and samples is not None and samples.rounds >= settings.rounds:
            self.done = samples.rounds >= settings.most_rounds or samples.certain(settings.max_noise)

    @property
    def _run_s(self) -> float:
        return self.probes_ms[max(self.probes_ms)] * _MS

    def _report(self, run: Ran) -> BenchReport | None:
        if run.problem is not None:
            self._fail(run.problem)
            return None
        try:
            return parse_report(run.text, len(self.program.rows))
        except ValueError as error:
            self._fail(f"{self.program.bench.name} printed no report: {error}")
            return None

    def _fail(self, problem: str) -> None:
        """The first problem counts: others may follow from it."""
        self.problem = self.problem or problem
