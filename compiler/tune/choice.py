"""Choosing by records: the fastest, and where noise cannot tell candidates apart the one that was guessed first."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mnv3c.compiler.lower import first_guess
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.store import device_class
from mnv3c.compiler.tune.work import HASH_DIGITS, Work, WorkKey, candidate_name, kernels_fingerprint, splits, work_key
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate, GroupWork, LayerWork

# Two runs of the same kernel on a quiet machine differ by about one percent.
NOISE = 0.01
_MOST_NOISE = 0.05


@dataclass(frozen=True)
class Score:
    """What a candidate takes, in microseconds, freed of drift, and the standard error of it."""

    latency_us: float
    error_us: float


def scores(records: Iterable[Record]) -> dict[str, Score]:
    """Scores by candidate, for records of one layer on one device. A failed candidate has none.

    A record gives the ratio to a baseline that took turns with the candidate; the median of all times of that baseline
    turns ratios into one scale.
    """
    good = [record for record in records if record.status == "ok"]
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
    """The first in the family's order of those as fast as the fastest within noise; None where none has a score."""
    scored = [(candidate, known[name]) for candidate in candidates if (name := candidate_name(candidate)) in known]
    if not scored:
        return None
    best = min((score for _, score in scored), key=lambda score: score.latency_us)
    return next(
        candidate for candidate, score in scored if score.latency_us <= best.latency_us + _noise_us(best, score)
    )


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
    """Chooses by records made for a device or its class with so many threads, where there are any.

    Records of this very device go before those of its class, records of the present kernel sources before older ones,
    newer before older. Candidates that the target no longer offers do not count; one that failed is not taken while
    there is another.
    """

    def __init__(self, records: Iterable[Record], device: CpuDevice, threads: int = 1) -> None:
        self._chosen: set[Candidate] = set()
        self._fingerprint = device.fingerprint[:HASH_DIGITS]
        self._records: dict[WorkKey, list[Record]] = defaultdict(list)
        for record in records:
            if (record.target, record.device_class, record.threads) == (device.target, device_class(device), threads):
                self._records[record.layer, record.storage].append(record)

    @property
    def recorded(self) -> frozenset[Candidate]:
        """The candidates that were chosen by records so far."""
        return frozenset(self._chosen)

    def choose(self, work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
        """A candidate for a layer: by the records, else the first guess."""
        return self._noted(self._find(work, candidates)) or first_guess(work, candidates)

    def choose_group(self, work: GroupWork, candidates: Sequence[Candidate]) -> Candidate | None:
        """A candidate for a group: by the records, None where they say that its parts are faster, else the first."""
        found = self._find(work, candidates)
        present = kernels_fingerprint(candidates[0])
        if found is None:
            failed = self._failed(work, present)
            return next((candidate for candidate in candidates if candidate_name(candidate) not in failed), None)
        return self._noted(found) if fusion_pays(work, lambda part: self._best_us(part, present)) else None

    def _noted(self, candidate: Candidate | None) -> Candidate | None:
        if candidate is not None:
            self._chosen.add(candidate)
        return candidate

    def _find(self, work: Work, candidates: Sequence[Candidate]) -> Candidate | None:
        present = kernels_fingerprint(candidates[0])
        for group in self._groups(work, present):
            if (chosen := pick(candidates, scores(group))) is not None:
                return chosen
        failed = self._failed(work, present)
        if candidate_name(candidates[0]) not in failed:
            return None
        return next((candidate for candidate in candidates if candidate_name(candidate) not in failed), None)

    def _groups(self, work: Work, present: str) -> list[list[Record]]:
        """A layer's records by device and sources, the most trusted first."""
        groups: dict[tuple[bool, bool, str], list[Record]] = defaultdict(list)
        for record in self._records.get(work_key(work), ()):
            exact = record.device_fingerprint == self._fingerprint
            groups[exact, record.kernels == present, record.kernels].append(record)
        newest = {key: max(record.when for record in group) for key, group in groups.items()}
        ranked = sorted(groups, key=lambda key: (key[0], key[1], newest[key], key[2]), reverse=True)
        return [groups[key] for key in ranked]

    def _best_us(self, work: Work, present: str) -> float | None:
        for group in self._groups(work, present):
            if found := scores(group):
                return min(score.latency_us for score in found.values())
        return None

    def _failed(self, work: Work, present: str) -> set[str]:
        groups = self._groups(work, present)
        return {r.candidate for group in groups for r in group if r.status != "ok" and r.kernels == present}
