"""The best ways through one layer, or through a fused group, for every state in which it may be entered."""

from collections.abc import Sequence
from typing import NamedTuple

from mnv3c.targets.edgetpu.candidate import Bound, Candidate, LayerCandidates
from mnv3c.targets.edgetpu.fusion import GroupChoice, group_choices
from mnv3c.targets.edgetpu.layer_view import LayerView, Streams
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.program import program
from mnv3c.targets.edgetpu.timeline import Entry, Program, layer_end
from mnv3c.targets.edgetpu.work import Job

_FAR = 1 << 62

Exit = tuple[int, int, int]  # `Entry` as plain numbers: far more are compared than kept


class Choice(NamedTuple):
    """A way to run a layer, or (then without a candidate) a group."""

    program: Program
    candidate: Candidate | None
    group: GroupChoice | None


class Way(NamedTuple):
    """A way to the end of a layer: how it leaves the machine, the last choice, and the way before that."""

    exit: Entry
    choice: Choice | None
    before: "Way | None"


def holds(job: Job, streams: Streams) -> bool:
    """Whether the post reads what was loaded, so that the buffer is free only after it."""
    return job.kind == "vector" or streams.second or streams.further


class LayerSearch:
    """Finds the best ways through one layer, for every state in which it may be entered."""

    def __init__(self, machine: Machine, view: LayerView, streams: Streams, choices: LayerCandidates) -> None:
        self._launch, self._view, self._choices = machine.launch_cycles, view, choices
        self._held = holds(view.job, streams)
        self._bounds: list[Bound] = []
        self._made: dict[int, Choice] = {}
        self._ends: dict[tuple[int, int, int], Entry] = {}
        self._known: dict[tuple[int, int, int], list[tuple[Entry, Choice]]] = {}
        # A DMA that is free earlier than this before the layer's start brings nothing any sooner.
        self.reach = choices.most_weights

    def onwards(self, ways: Sequence[Way], reach: int) -> list[Way]:
        """All ways that are best in some respect after this layer; the next one can make use of `reach` cycles."""
        found = [
            Way(Entry(exit.dma + way.exit.done, exit.done + way.exit.done, exit.pending), choice, way)
            for way in ways
            for exit, choice in self._from(way.exit.dma - way.exit.done, way.exit.pending, reach)
        ]
        return found if len(ways) == 1 else earliest(found)

    def _from(self, dma: int, pending: int, reach: int) -> list[tuple[Entry, Choice]]:
        """Best exits when entered at 0 with the DMA free at `dma`."""
        key = (dma, pending, reach)
        if key not in self._known:
            self._known[key] = self._explored(Entry(dma, 0, pending), reach)
        return self._known[key]

    def _explored(self, entry: Entry, reach: int) -> list[tuple[Entry, Choice]]:
        """The candidates that are best in some respect, in order of their bounds; of equals the first.

        The most promising one is run before all others, as what it rules out need not be run. Then they come in order,
        until none can be best in any respect any more.
        """
        leasts, seed = self._promising(entry, reach)
        kept = [(self._end(self._bounds[seed], entry, reach), seed)]
        enough = _rules_out_from(kept[0][0], reach)
        for place in range(len(self._choices.bounds)):
            bound = self._bound(place)
            if place == seed:
                continue
            if place > seed and enough <= bound.done:  # one before the seed may be its equal, and then comes first
                break
            if place == len(leasts):
                leasts.append(_least(entry, bound, self._launch, reach))
            if _is_late(leasts[place], kept) and not (place < seed and (leasts[place], seed) in kept):
                continue
            left = self._end(bound, entry, reach)
            if _is_late(left, kept) and not (place < seed and (left, seed) in kept):
                continue
            kept = [known for known in kept if not _is_late(known[0], [(left, place)])]
            kept.append((left, place))
            enough = min(enough, _rules_out_from(left, reach))
        kept.sort(key=lambda known: known[1])
        return [(left, self._choice(self._bounds[place])) for left, place in kept]

    def _promising(self, entry: Entry, reach: int) -> tuple[list[Exit], int]:
        """The least ends of the first candidates, and the place of the one that promises to rule out most others."""
        leasts: list[Exit] = []
        enough, best = _FAR, 0
        for place in range(len(self._choices.bounds)):
            bound = self._bound(place)
            if enough <= bound.done:
                break
            least = _least(entry, bound, self._launch, reach)
            leasts.append(least)
            rules_out_from = _rules_out_from(least, reach)
            if rules_out_from < enough:
                enough, best = rules_out_from, place
        return leasts, best

    def _bound(self, place: int) -> Bound:
        """The bounds in order; made into Python numbers a few at a time, as mostly the first are enough."""
        if place == len(self._bounds):
            self._bounds += map(Bound._make, self._choices.bounds[place : place + 4].tolist())
        return self._bounds[place]

    def _end(self, bound: Bound, entry: Entry, reach: int) -> Entry:
        """How a candidate leaves the machine when entered at 0."""
        # Weights that are there before the layer begins are no better for having come still earlier.
        key = (bound.place, max(entry.dma, -bound.weights), entry.pending)
        if key not in self._ends:
            self._ends[key] = layer_end(entry, self._choice(bound).program, self._launch)
        dma, done, pending = self._ends[key]
        return Entry(max(dma, done - reach), done, pending)

    def _choice(self, bound: Bound) -> Choice:
        if bound.place not in self._made:
            candidate, view = self._choices.candidate(bound.place), self._view
            runs = program(candidate, view.repeats, reads_whole=view.job.reads_whole, held=self._held)
            self._made[bound.place] = Choice(runs, candidate, None)
        return self._made[bound.place]


class GroupSearch:
    """Runs every choice of a group: there are few."""

    def __init__(self, machine: Machine, jobs: Sequence[Job], streams: Sequence[Streams]) -> None:
        self._launch = len(jobs) * machine.launch_cycles
        self._choices = [Choice(group.program, None, group) for group in group_choices(machine, jobs, streams)]
        self.reach = max((choice.program.first[0] for choice in self._choices), default=0)

    def onwards(self, ways: Sequence[Way], reach: int) -> list[Way]:
        """All ways that are best in some respect after this group; the next layer can make use of `reach` cycles."""
        found = []
        for way in ways:
            for choice in self._choices:
                dma, done, pending = layer_end(way.exit, choice.program, self._launch)
                found.append(Way(Entry(max(dma, done - reach), done, pending), choice, way))
        return earliest(found)


def _rules_out_from(exit: Exit, reach: int) -> int:
    """No candidate whose end is bound to be this late is better in any respect than one that leaves so."""
    dma, done, pending = exit
    return (done if done > dma + reach else dma + reach) + pending


def _least(entry: Entry, bound: Bound, launch: int, reach: int) -> Exit:
    """The earliest way in which a candidate can leave the machine when entered at 0."""
    _, _, weights, activations, after_start, after_loads, moves, pending = bound
    dma, start = entry.dma + weights, launch
    if weights and dma > start:
        start = dma
    if entry.pending:
        dma = max(dma, 0) + entry.pending
    if activations:
        dma = max(dma, 0) + activations
        start = max(start, dma)
    done = start + after_start
    if weights or activations:
        done = max(done, dma + after_loads)
    return max(dma + moves, 0, done - reach), done, pending


def _is_late(exit: Exit, kept: Sequence[tuple[Entry, object]]) -> bool:
    """Whether something known is as early in every respect.

    A store that takes d cycles more delays no event by more than being d later at everything would.
    """
    dma, done, pending = exit
    for (known_dma, known_done, known_pending), _ in kept:
        more = known_pending - pending
        if more < 0:
            more = 0
        if known_done + more <= done and known_dma + more <= dma:
            return True
    return False


def earliest(ways: list[Way]) -> list[Way]:
    """The ways that no other one is as early as in every respect; of equals the first."""
    kept: list[tuple[Entry, Way]] = []
    for way in sorted(ways, key=lambda way: (way.exit.done, way.exit.dma, way.exit.pending)):
        if not _is_late(way.exit, kept):
            kept.append((way.exit, way))
    return [way for _, way in kept]
