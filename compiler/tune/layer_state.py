"""What the search knows of one layer."""

import math
from collections.abc import Iterable

from mnv3c.compiler.tune.choice import Score, pick, scores
from mnv3c.compiler.tune.ranking import Sample
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.work import candidate_name


class LayerState:
    """A task with its records, the scores they give, and the choice that follows."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.records: dict[str, Record] = {}
        self.known: dict[str, Score] = {}
        self.chosen = task.candidates[0]
        self.latency_ms: float | None = None

    def add(self, records: Iterable[Record]) -> None:
        """Take note of records."""
        self.records |= {record.candidate: record for record in records}
        self.known = scores(self.records.values())
        best = pick(self.task.candidates, self.known)
        if best is not None:
            self.chosen, self.latency_ms = best, self.known[candidate_name(best)].latency_us / 1e3

    @property
    def hopeless(self) -> bool:
        """Whether every candidate has failed."""
        return not self.known and not self.remaining

    @property
    def untouched(self) -> bool:
        """Whether the first guess has still to be measured."""
        return not self.known and self.task.names[0] not in self.records

    @property
    def remaining(self) -> list[int]:
        """Candidates without a record."""
        return [index for index, name in enumerate(self.task.names) if name not in self.records]

    @property
    def anchor(self) -> int | None:
        """The first candidate in the family's order that has a time: what others are measured beside."""
        return next((index for index, name in enumerate(self.task.names) if name in self.known), None)

    @property
    def samples(self) -> list[Sample]:
        """What the ranking learns from."""
        if self.anchor is None:
            return []
        base_us = self._positive_us(self.task.names[self.anchor])
        return [
            Sample(self.task, index, math.log(self._positive_us(name) / base_us))
            for index, name in enumerate(self.task.names)
            if name in self.known
        ]

    def _positive_us(self, name: str) -> float:
        return max(self.known[name].latency_us, 1e-3)
