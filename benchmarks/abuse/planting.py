"""A tuning run among hostile candidates: planted between real ones, all of them measured, the real ones searched."""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.compiler.tune.hostile import CRIMES, RARER_CRIMES, Hostile

from abuse.claims import Claim, Outcome
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.tune.host_measure import HostMeasure
from mnv3c.compiler.tune.measure import Measure, Measurement, Trial
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.session import host_title
from mnv3c.compiler.tune.space import Space, Task
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuner import Tuner, TuningResult
from mnv3c.compiler.tune.work import WorkKey, candidate_name
from mnv3c.graph.ir import Graph
from mnv3c.targets.cpu.kernel import CpuKernel
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import LayerWork

ALL_CRIMES = CRIMES | RARER_CRIMES
_KERNEL_LIMIT_S, _BUILD_LIMIT_S = 2.0, 8.0


def tune_among_hostile(
    graph: Graph, count: int, search_s: float, seed: int, folder: Path, tell: Callable[[str], None]
) -> Outcome:
    """Tune `graph` for `search_s` seconds at most with `count` hostile candidates among the real ones."""
    device = find_device("host")
    target = load_target(device.target)
    space = Space(graph, target, device)
    planted = _planted(space.tasks, count, random.Random(seed))
    tasks = [_with(task, planted.get(task.key, ()), random.Random(seed)) for task in space.tasks]
    store = RecordStore(folder / "records.jsonl")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        measure = HostMeasure(
            target,
            device,
            FileCache.default(),
            Path(work),
            kernel_limit_s=_KERNEL_LIMIT_S,
            build_limit_s=_BUILD_LIMIT_S,
        )
        trying = _EachTried(measure, planted, random.Random(seed), tell)
        try:
            result = Tuner(tasks, space.plan, device, store, trying, host_title(), search_s).run()
            # The same records, nobody hostile to be seen, and no time for more.
            again = Tuner(space.tasks, space.plan, device, store, measure, host_title(), 0.0).run()
        finally:
            measure.close()
    rows = tuple(_row(hostile, task, store.records) for task in tasks for hostile in planted.get(task.key, ()))
    rows = tuple(sorted(rows, key=lambda row: int(row["number"])))
    totals = {
        "seed": seed,
        "hostile": len(rows),
        "real ones measured": result.measured,
        "seconds": round(result.seconds, 1),
        "sum of the layers ms": None if result.sum_ms is None else round(result.sum_ms, 4),
    }
    return Outcome(rows, totals, _claims(rows, store.records, result, again, search_s))


def _planted(tasks: Sequence[Task], count: int, chance: random.Random) -> Mapping[WorkKey, tuple[Hostile, ...]]:
    """`count` hostile candidates for random layers, each disguising a good one; every crime before one comes twice."""
    layers = [task for task in tasks if isinstance(task.work, LayerWork) and _has_weights(task)]
    crimes = list(ALL_CRIMES)
    chance.shuffle(crimes)
    found: dict[WorkKey, tuple[Hostile, ...]] = {}
    for number in range(count):
        task = chance.choice(layers)
        good = task.candidates[0]
        assert isinstance(good, CpuKernel)
        hostile = Hostile(crimes[number % len(crimes)], number, good)
        found[task.key] = (*found.get(task.key, ()), hostile)
    return found


def _has_weights(task: Task) -> bool:
    """What reads weights and needs no memory of its own can commit every crime."""
    good = task.candidates[0]
    return isinstance(good, CpuKernel) and good.workspace_elements == 0 and "bias=yes" in task.layer


def _with(task: Task, hostile: Sequence[Hostile], chance: random.Random) -> Task:
    """The task with hostile candidates anywhere among the real ones, in front too."""
    candidates = list(task.candidates)
    for each in hostile:
        candidates.insert(chance.randint(0, len(candidates)), each)
    return replace(task, candidates=tuple(candidates))


class _EachTried:
    """Measures as `measure` does, and in the first two rounds also what the search might never ask for."""

    def __init__(
        self,
        measure: Measure,
        planted: Mapping[WorkKey, Sequence[Hostile]],
        chance: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self._measure, self._chance, self._tell = measure, chance, tell
        self._waiting = {key: list(hostile) for key, hostile in planted.items()}
        self._rounds = 0

    def __call__(self, trials: Sequence[Trial], deadline_s: float) -> Iterator[Measurement]:
        """As `Measure`."""
        self._rounds += 1
        self._tell(f"round {self._rounds}")
        yield from self._measure([self._among(trial) for trial in trials], deadline_s)

    def _among(self, trial: Trial) -> Trial:
        waiting = self._waiting.get(trial.task.key, [])
        candidates = [*trial.candidates, *(each for each in waiting if each not in trial.candidates)]
        self._chance.shuffle(candidates)
        self._waiting[trial.task.key] = []
        return replace(trial, candidates=tuple(candidates))


def _row(hostile: Hostile, task: Task, records: Sequence[Record]) -> dict[str, Any]:
    own = [
        record
        for record in records
        if (record.layer, record.storage) == task.key and record.candidate == candidate_name(hostile)
    ]
    status, reason = (own[0].status, own[0].reason) if own else ("not recorded", "")
    expected, words = ALL_CRIMES[hostile.crime]
    return {
        "number": hostile.number,
        "crime": hostile.crime,
        "status": status,
        "reason": reason,
        "as expected": len(own) == 1 and status == expected and words in reason,
    }


def _claims(
    rows: Sequence[dict[str, Any]],
    records: Sequence[Record],
    result: TuningResult,
    again: TuningResult,
    search_s: float,
) -> tuple[Claim, ...]:
    ends = [] if result.seconds < search_s else [f"it took {result.seconds:.1f} s"]
    untimed = [layer.task.layer for layer in result.layers if layer.latency_ms is None]
    passed = [f"{row['number']} {row['crime']}" for row in rows if row["status"] in ("ok", "not recorded")]
    misjudged = [f"{row['crime']}: {row['status']}: {row['reason']}" for row in rows if not row["as expected"]]
    blamed = [
        f"{record.layer}: {record.candidate}: {record.status}: {record.reason}"
        for record in records
        if record.status != "ok" and record.family != "hostile"
    ]
    pairs = list(zip(result.layers, again.layers, strict=True))
    differ = [
        f"{one.task.layer}: {candidate_name(one.chosen)} and {candidate_name(other.chosen)}"
        for one, other in pairs
        if (one.chosen, one.count, one.latency_ms) != (other.chosen, other.count, other.latency_ms)
    ]
    return (
        Claim.of("the search ends", ends),
        Claim.of("every layer has a time", untimed),
        Claim.of("every hostile candidate is recorded as failed", passed),
        Claim.of("each has the status and the reason of its crime", misjudged),
        Claim.of("no real candidate is blamed", blamed),
        Claim.of("the choice is the one that the same records give without them", differ),
    )
