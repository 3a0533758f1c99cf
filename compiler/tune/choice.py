"""Choosing by records: the fastest, and where noise cannot tell candidates apart the one that was guessed first.

Where nothing was measured, estimates decide, if there are any, between the kernels of a layer or a group; whether to
fuse they do not decide, since what fusing saves is memory traffic, which they know nothing of.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from mnv3c.compiler.lower import first_guess
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.tuned_device import TunedDevice
from mnv3c.compiler.tune.work import HASH_DIGITS, Work, WorkKey, candidate_name, kernels_fingerprint, splits, work_key
from mnv3c.targets.target import Candidate, GroupWork, LayerWork

# Two runs of the same kernel on a quiet machine differ by about one percent.
NOISE = 0.01
_MOST_NOISE = 0.05
# A kernel alone and the same kernel within the network differ by some percent: what has run before, and the clock that
# it has left behind. The first guess has to be beaten by more than that (V3-Large: taking whatever was one percent
# faster alone made the network 1.4 % slower than its first guesses).
_DOUBT = 0.05
# Estimates that differ by less say nothing.
_TIE = 0.02


@dataclass(frozen=True)
class Score:
    """What a candidate takes, in microseconds, freed of drift, and the standard error of it."""

    latency_us: float
    error_us: float


def scores(records: Iterable[Record]) -> dict[str, Score]:
    """Scores by candidate, for records of one layer on one device. A failed or estimated candidate has none.

    A record gives the ratio to a baseline that took turns with the candidate; the median of all times of that baseline
    turns ratios into one scale.
    """
    good = [record for record in records if record.status == "ok" and record.basis == "measured"]
    times: dict[str, list[float]] = defaultdict(list)
    for record in good:
        times[record.baseline].append(record.baseline_us or 0.0)
    scale = {baseline: median(values) for baseline, values in times.items()}
    found = {}
    for record in good:
        assert record.ratio is not None and record.ratio_error is not None
        baseline_us = scale[record.baseline]
        found[record.candidate] = Score(record.ratio * baseline_us, record.ratio_error * baseline_us)
    return found


def pick(candidates: Sequence[Candidate], known: Mapping[str, Score]) -> Candidate | None:
    """The first guess where it is as good as the fastest within doubt; else the first as fast within noise.

    None where none has a score.
    """
    named = {candidate_name(candidate): candidate for candidate in candidates}
    scored = {name: known[name] for name in named if name in known}
    first = next(iter(named), "")
    if first in within_doubt(scored):
        return named[first]
    close = close_in_time(scored)
    return next((candidate for name, candidate in named.items() if name in close), None)


def close_in_time(known: Mapping[str, Score]) -> frozenset[str]:
    """The fastest, and what noise cannot tell from it."""
    if not known:
        return frozenset()
    best = min(known.values(), key=lambda score: (score.latency_us, score.error_us))
    return frozenset(
        name for name, score in known.items() if score.latency_us <= best.latency_us + _noise_us(best, score)
    )


def within_doubt(known: Mapping[str, Score]) -> frozenset[str]:
    """Those that may be as fast as the fastest in the network, whatever they take alone."""
    best_us = min((score.latency_us for score in known.values()), default=0.0)
    return frozenset(name for name, score in known.items() if score.latency_us <= (1.0 + _DOUBT) * best_us)


def estimates(records: Iterable[Record]) -> dict[str, float]:
    """Estimated cycles by candidate, for estimates of one layer by one model. A failed candidate has none."""
    return {record.candidate: record.estimated_cycles for record in records if record.estimated_cycles is not None}


def pick_estimated(candidates: Sequence[Candidate], cycles: Mapping[str, float]) -> Candidate | None:
    """The first in the family's order of those within 2 % of the least cycles; None where none has an estimate."""
    named = {candidate_name(candidate): candidate for candidate in candidates}
    close = close_in_cycles({name: cycles[name] for name in named if name in cycles})
    return next((candidate for name, candidate in named.items() if name in close), None)


def close_in_cycles(cycles: Mapping[str, float]) -> frozenset[str]:
    """The candidate of the least cycles, and those that tie with it."""
    least = min(cycles.values(), default=0.0)
    return frozenset(name for name, value in cycles.items() if value <= (1.0 + _TIE) * least)


def _noise_us(best: Score, other: Score) -> float:
    error_us = 2.0 * math.hypot(best.error_us, other.error_us)
    return min(max(NOISE * best.latency_us, error_us), _MOST_NOISE * best.latency_us)


def fusion_pays(work: GroupWork, latency_us: Callable[[Work], float | None]) -> bool:
    """Whether a group is as fast as the fastest way to compute it in several kernels; also where that is not known.

    `latency_us` gives the best time of a layer or a group, None where there is none.
    """
    fused = latency_us(work)
    if fused is None:
        return True
    apart = _apart_us(work, latency_us)
    return apart is None or fused <= (1.0 + NOISE) * apart


def _apart_us(work: Work, latency_us: Callable[[Work], float | None]) -> float | None:
    sums = []
    for halves in splits(work):
        times = []
        for half in halves:
            options = (latency_us(half), _apart_us(half, latency_us))
            times.append(min((time for time in options if time is not None), default=None))
        if None not in times:
            sums.append(sum(time for time in times if time is not None))
    return min(sums, default=None)


class RecordedChoice:
    """Chooses by records made for a device or its class with so many threads, where there are any, else with one.

    Records of this very device go before those of its class, records of the present kernel sources before older ones,
    newer before older, measured before estimated. Candidates that the target no longer offers do not count; one that
    failed is not taken while there is another.
    """

    def __init__(self, records: Iterable[Record], device: TunedDevice, threads: int = 1) -> None:
        self._chosen: set[Candidate] = set()
        self._estimated: set[Candidate] = set()
        self._fingerprint = device.fingerprint[:HASH_DIGITS]
        self._threads = (threads,) if threads == 1 else (threads, 1)
        self._records: dict[WorkKey, list[Record]] = defaultdict(list)
        self._estimates: dict[WorkKey, list[Record]] = defaultdict(list)
        for record in records:
            here = (record.target, record.device_class) == (device.target, device.device_class)
            if here and record.threads in self._threads:
                kept = self._records if record.basis == "measured" else self._estimates
                kept[record.layer, record.storage].append(record)

    @property
    def recorded(self) -> frozenset[Candidate]:
        """The candidates that were chosen by measured records so far."""
        return frozenset(self._chosen)

    @property
    def estimated(self) -> frozenset[Candidate]:
        """The candidates that were chosen by estimates so far, for want of measured records."""
        return frozenset(self._estimated - self._chosen)

    def choose(self, work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
        """A candidate for a layer: by the records, else the first guess."""
        fastest = (self._fastest(work, candidates, threads) for threads in self._threads)
        return (
            self._noted(next(filter(None, fastest), None))
            or self._by_estimate(work, candidates)
            or self._noted(self._instead_of_failed(work, candidates))
            or first_guess(work, candidates)
        )

    def choose_group(self, work: GroupWork, candidates: Sequence[Candidate]) -> Candidate | None:
        """A candidate for a group: by the records, None where they say that its parts are faster, else the first."""
        present = kernels_fingerprint()
        for threads in self._threads:
            if fastest := self._fastest(work, candidates, threads):
                # Times compare with those of as many threads only.
                best_us = partial(self._best_us, present=present, threads=threads)
                return self._noted(fastest) if fusion_pays(work, best_us) else None
        chosen = self._by_estimate(work, candidates) or self._noted(self._instead_of_failed(work, candidates))
        failed = self._failed(work, present)
        first = next((candidate for candidate in candidates if candidate_name(candidate) not in failed), None)
        return chosen or first

    def _noted(self, candidate: Candidate | None) -> Candidate | None:
        if candidate is not None:
            self._chosen.add(candidate)
        return candidate

    def _fastest(self, work: Work, candidates: Sequence[Candidate], threads: int) -> Candidate | None:
        allowed = self._allowed(work, candidates)
        for group in self._groups(self._records, work, kernels_fingerprint(), threads):
            if (chosen := pick(allowed, scores(group))) is not None:
                return chosen
        return None

    def _by_estimate(self, work: Work, candidates: Sequence[Candidate]) -> Candidate | None:
        present, allowed = kernels_fingerprint(), self._allowed(work, candidates)
        for threads in self._threads:
            for group in self._groups(self._estimates, work, present, threads):
                if (chosen := pick_estimated(allowed, estimates(group))) is not None:
                    self._estimated.add(chosen)
                    return chosen
        return None

    def _allowed(self, work: Work, candidates: Sequence[Candidate]) -> list[Candidate]:
        failed = self._failed(work, kernels_fingerprint())
        return [candidate for candidate in candidates if candidate_name(candidate) not in failed]

    def _instead_of_failed(self, work: Work, candidates: Sequence[Candidate]) -> Candidate | None:
        """Where the first candidate has failed, the first that has not."""
        failed = self._failed(work, kernels_fingerprint())
        if candidate_name(candidates[0]) not in failed:
            return None
        return next((candidate for candidate in candidates if candidate_name(candidate) not in failed), None)

    def _groups(
        self, known: Mapping[WorkKey, list[Record]], work: Work, present: str, threads: int
    ) -> list[list[Record]]:
        """A layer's records by device, sources and basis, the most trusted first; only those of a group compare."""
        groups: dict[tuple[bool, bool, bool, str, str, str], list[Record]] = defaultdict(list)
        for record in known.get(work_key(work), ()):
            if record.threads != threads:
                continue
            exact = record.device_fingerprint == self._fingerprint
            whole = record.basis != "llvm-mca-loops"
            groups[exact, record.kernels == present, whole, record.kernels, record.basis, record.model or ""].append(
                record
            )
        newest = {key: max(record.when for record in group) for key, group in groups.items()}
        ranked = sorted(groups, key=lambda key: (*key[:3], newest[key], *key[3:]), reverse=True)
        return [groups[key] for key in ranked]

    def _best_us(self, work: Work, present: str, threads: int) -> float | None:
        for group in self._groups(self._records, work, present, threads):
            if found := scores(group):
                return min(score.latency_us for score in found.values())
        return None

    def _failed(self, work: Work, present: str) -> set[str]:
        records = self._records.get(work_key(work), ())
        return {record.candidate for record in records if record.status != "ok" and record.kernels == present}
