"""NetAdapt as MobileNetV3 uses it: "Searching for MobileNetV3", arXiv 1905.02244v5, section 4.2.

From a network that is there already, each step makes every proposal that cuts the latency by at least delta (0.01 of
the starting latency), gives each the weights of the step before and a short training, and takes the one of the largest
change of accuracy per change of latency; until the target latency is met.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from mnv3c.graph.errors import UserError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.tables import Table
from mnv3c.graph.yaml_fields import FieldError, decode_fields, encode_fields
from mnv3c.search.accuracy import Accuracy, Candidate, Judged, Stage
from mnv3c.search.architecture import Architecture
from mnv3c.search.folder import SearchFolder
from mnv3c.search.latency import Latency
from mnv3c.search.proposals import Proposal, proposals


@dataclass(frozen=True)
class NetAdaptSettings:
    """The target, the least cut of a step as a share of the starting latency, and what widths are multiples of.

    Raises UserError for values that are not positive.
    """

    target_ms: float
    delta: float = 0.01
    divisor: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("target_ms", "delta", "divisor"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}")


@dataclass(frozen=True)
class Tried:
    """A proposal of a step: its latency and accuracy, and its change of accuracy per millisecond saved."""

    change: str
    latency_ms: float
    accuracy: float
    score: float


@dataclass(frozen=True)
class Step:
    """A step that is done: what was changed, the network that it gave, and all that was tried. Step 0 is the start."""

    number: int
    change: str
    table: Table
    latency_ms: float
    accuracy: float
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True)
class Found:
    """A network at the end of a search, with weights: made-up ones where its accuracy was not trained."""

    graph: Graph
    latency_ms: float
    accuracy: float


class NetAdapt:
    """A search in a folder; what is done there already is not done again, and the path is the same.

    `on_proposal(number, count, name)` is told of each proposal before it is judged. Raises UserError for a target that
    the start meets already, and as `SearchFolder.open` does.
    """

    def __init__(
        self,
        start: Architecture,
        accuracy: Accuracy,
        latency: Latency,
        settings: NetAdaptSettings,
        folder: SearchFolder,
        resume: bool = False,
        on_proposal: Callable[[int, int, str], None] = lambda number, count, name: None,
    ) -> None:
        self._start, self._accuracy, self._latency = start, accuracy, latency
        self._settings, self._folder, self._on_proposal = settings, folder, on_proposal
        self._known_ms: dict[Table, float] = {}
        start_ms = self._latency_ms(start.table)
        if start_ms <= settings.target_ms:
            raise UserError(f"'{start.name}' takes {start_ms:.4g} ms, within {settings.target_ms:.4g} ms already")
        self._least_cut_ms = settings.delta * start_ms
        self._asked: dict[str, Any] = {
            "strategy": "netadapt",
            "start": encode_fields(start),
            "latency": latency.identity,
            "accuracy": accuracy.identity,
            "settings": encode_fields(settings),
        }
        done = folder.open(self._asked, resume)
        self._steps = [_step(folder, item) for item in done.get("steps", [])]
        self._final: dict[str, float] | None = done.get("final")

    def steps(self) -> Iterator[Step]:
        """Every step, those done before first, until the target is met or nothing more can be cut."""
        yield from tuple(self._steps)
        if not self._steps:
            yield self._first()
        while self._steps[-1].latency_ms > self._settings.target_ms:
            step = self._next()
            if step is None:
                return
            yield step

    @property
    def met(self) -> bool:
        """Whether the last step is within the target."""
        return bool(self._steps) and self._steps[-1].latency_ms <= self._settings.target_ms

    def finish(self) -> Found:
        """The last step's network after the final training, saved as `best` in the folder."""
        last = self._steps[-1]
        if self._final is not None:
            return Found(self._folder.load("best"), last.latency_ms, self._final["accuracy"])
        judged = self._judged(self._start.with_table(last.table), self._folder.load(_name(last.number)), "final", "")
        graph = with_weights(judged.graph, self._settings.seed)
        self._folder.save("best", graph)
        self._final = {"accuracy": judged.accuracy}
        self._write()
        return Found(graph, last.latency_ms, judged.accuracy)

    def _first(self) -> Step:
        judged = self._judged(self._start, None, "start", "")
        step = Step(0, "start", self._start.table, self._latency_ms(self._start.table), judged.accuracy)
        self._keep(step, judged.graph)
        return step

    def _next(self) -> Step | None:
        last = self._steps[-1]
        parent = self._folder.load(_name(last.number))
        found = tuple(proposals(last.table, self._latency_ms, self._least_cut_ms, self._settings.divisor))
        if not found:
            return None
        best: tuple[Tried, Proposal, Judged] | None = None
        tried: list[Tried] = []
        for number, proposal in enumerate(found, start=1):
            self._on_proposal(number, len(found), proposal.name)
            architecture = self._start.with_table(proposal.table)
            # All proposals of a step are trained on the same images in the same order, lest luck choose.
            judged = self._judged(architecture, parent, "proposal", f"{last.number + 1}")
            tried.append(_tried(last, proposal, judged.accuracy))
            if best is None or (tried[-1].score, -tried[-1].latency_ms) > (best[0].score, -best[0].latency_ms):
                best = tried[-1], proposal, judged
        assert best is not None
        chosen, proposal, judged = best
        step = Step(last.number + 1, chosen.change, proposal.table, chosen.latency_ms, chosen.accuracy, tuple(tried))
        self._keep(step, judged.graph)
        return step

    def _judged(self, architecture: Architecture, parent: Graph | None, stage: Stage, what: str) -> Judged:
        seed = crc32(f"{self._settings.seed} {stage} {what}".encode())
        return self._accuracy.judge(Candidate(architecture.widths, architecture.graph(), parent, stage, seed))

    def _latency_ms(self, table: Table) -> float:
        if table not in self._known_ms:
            self._known_ms[table] = self._latency(self._start.with_table(table).graph())
        return self._known_ms[table]

    def _keep(self, step: Step, graph: Graph) -> None:
        """The weights first: a state that names them must find them."""
        self._folder.save(_name(step.number), graph)
        self._steps.append(step)
        self._write()
        # The start stays: it is what other ways to shrink the network start from.
        if step.number > 1:
            self._folder.forget(_name(step.number - 1))

    def _write(self) -> None:
        steps = [encode_fields(step) for step in self._steps]
        self._folder.write(self._asked, {"steps": steps} | ({"final": self._final} if self._final else {}))


def _tried(last: Step, proposal: Proposal, accuracy: float) -> Tried:
    saved_ms = last.latency_ms - proposal.latency_ms
    return Tried(proposal.name, proposal.latency_ms, accuracy, (accuracy - last.accuracy) / saved_ms)


def _name(number: int) -> str:
    return f"step-{number:03d}" if number else "start"


def _step(folder: SearchFolder, item: Any) -> Step:
    try:
        return decode_fields(Step, item)
    except (FieldError, TypeError, AttributeError) as error:
        raise UserError(f"{folder.path}: a step cannot be read: {error}") from None


def with_weights(graph: Graph, seed: int) -> Graph:
    """The graph, with seeded weights where it has none, so that it can be compiled."""
    return graph if graph.weights else initialise(graph, seed)
