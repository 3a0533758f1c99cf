"""A latency and an accuracy that cost nothing to know."""

from dataclasses import dataclass, field

from mnv3c.graph.ir import Graph
from mnv3c.search.accuracy import Candidate, Judged


class KilledError(Exception):
    """Stands for a process that is killed."""


@dataclass(frozen=True)
class MacLatency:
    """A millisecond for a million multiply-accumulates."""

    identity: str = "a million MACs a millisecond"

    def __call__(self, graph: Graph) -> float:
        return graph.total_macs / 1e6


@dataclass
class WeightedAccuracy:
    """Falls with each layer's parameters, by the candidate's seed a little more or less; may stop after some."""

    most: int | None = None
    identity: str = "made up"
    seen: list[Candidate] = field(default_factory=list)

    def judge(self, candidate: Candidate) -> Judged:
        if self.most is not None and len(self.seen) >= self.most:
            raise KilledError
        self.seen.append(candidate)
        share = sum(candidate.graph.params(node) ** 0.5 for node in candidate.graph.weight_layers) / 3e4
        return Judged(min(1.0, share + candidate.seed % 1000 / 1e6), candidate.graph)
