"""The search on a machine whose costs are known: what it measures, when it stops, what it takes up again."""

from pathlib import Path

import numpy as np
import pytest
from tests.compiler.tune.fakes import (
    SECONDS_PER_CANDIDATE,
    FakeCandidate,
    FakeMachine,
    every_layer_once,
    pointwise,
    task,
)

from mnv3c.compiler.tune.ranking import Sample, distinct, expected_improvement
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuner import Progress, Tuner, TuningResult
from mnv3c.compiler.tune.work import work_key
from mnv3c.graph.errors import MissingError
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import GroupWork

DEVICE = find_device("haswell")


def tuner(tasks: list[Task], path: Path, machine: FakeMachine, budget_s: float = 1e6, threads: int = 1) -> Tuner:
    plan = every_layer_once(tasks)
    store = RecordStore(path)
    return Tuner(tasks, plan, DEVICE, store, machine.measure, "here", budget_s, threads, clock=machine.clock)


def valley(lowest: int, count: int, depth_us: float = 40.0) -> list[float]:
    """Costs that fall towards candidate `lowest` and rise behind it."""
    return [100.0 - depth_us * float(np.exp(-((i - lowest) ** 2) / 16.0)) for i in range(count)]


def chosen_sizes(result: TuningResult) -> list[int]:
    return [layer.chosen.parameters["size"] for layer in result.layers]


def test_it_finds_the_fastest_of_few(tmp_path: Path) -> None:
    tasks, machine = [task([10, 12, 7, 9]), task([5, 5.5, 9], 17)], FakeMachine()
    result = tuner(tasks, tmp_path / "r.jsonl", machine).run()
    assert chosen_sizes(result) == [3, 1]
    assert result.sum_ms == pytest.approx(0.012)
    assert result.layers[0].first_guess_ms == pytest.approx(0.010)
    assert result.measured == len(RecordStore(tmp_path / "r.jsonl").records) <= 7
    assert (result.failed, result.reused) == (0, 0)


def test_it_learns_where_to_look(tmp_path: Path) -> None:
    wide, machine = task(valley(20, 40)), FakeMachine()
    result = tuner([wide], tmp_path / "r.jsonl", machine).run()
    assert result.layers[0].latency_ms == pytest.approx(0.060, rel=0.02)
    assert result.measured < 40


def test_it_stops_when_nothing_is_to_be_gained(tmp_path: Path) -> None:
    # All are alike: after a few there is no hope in the rest.
    flat, machine = task([50.0] * 60), FakeMachine()
    result = tuner([flat], tmp_path / "r.jsonl", machine).run()
    assert result.measured < 50
    assert chosen_sizes(result) == [1]


def test_the_budget_ends_the_search(tmp_path: Path) -> None:
    tasks, machine = [task(valley(30, 60), channels) for channels in range(16, 26)], FakeMachine()
    result = tuner(tasks, tmp_path / "r.jsonl", machine, budget_s=20.0).run()
    assert 20.0 - 10 * SECONDS_PER_CANDIDATE < result.seconds <= 20.0 + 8 * SECONDS_PER_CANDIDATE
    assert result.measured == pytest.approx(result.seconds / SECONDS_PER_CANDIDATE)


def test_first_guesses_come_before_the_budget(tmp_path: Path) -> None:
    tasks, machine = [task([10, 5], channels) for channels in range(16, 26)], FakeMachine()
    result = tuner(tasks, tmp_path / "r.jsonl", machine, budget_s=0.0).run()
    assert result.measured == 10 and result.sum_ms == pytest.approx(0.1)


def test_slow_layers_get_the_time(tmp_path: Path) -> None:
    slow, quick = task([9.0 * cost for cost in valley(25, 30)]), task([cost / 9.0 for cost in valley(25, 30)], 17)
    machine = FakeMachine()
    tuner([quick, slow], tmp_path / "r.jsonl", machine, budget_s=2.0).run()
    guesses, search = machine.trials[:2], machine.trials[2:]
    assert {trial.task.key for trial in guesses} == {quick.key, slow.key}
    assert search[0].task is slow and len(search[0].candidates) >= 4


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    tasks, path = [task(valley(30, 60), channels) for channels in (16, 17)], tmp_path / "r.jsonl"
    first = tuner(tasks, path, FakeMachine(), budget_s=4.0).run()
    before, machine = path.read_bytes(), FakeMachine()
    second = tuner(tasks, path, machine).run()
    assert second.reused == first.measured and second.measured > 0
    assert path.read_bytes().startswith(before)
    records = RecordStore(path).records
    assert path.read_bytes().count(b"\n") == len(records) == first.measured + second.measured
    third = tuner(tasks, path, idle := FakeMachine()).run()
    assert (third.measured, third.reused) == (0, len(records)) and not idle.trials
    assert chosen_sizes(third) == chosen_sizes(second)
    assert third.sum_ms == second.sum_ms


def test_other_threads_are_measured_anew(tmp_path: Path) -> None:
    tasks, path = [task([10, 9])], tmp_path / "r.jsonl"
    assert tuner(tasks, path, FakeMachine()).run().measured == 2
    assert tuner(tasks, path, FakeMachine(), threads=2).run().measured == 2
    assert tuner(tasks, path, FakeMachine()).run().measured == 0


def test_only_what_was_measured_here_is_reused(tmp_path: Path) -> None:
    """Records of another device of the class, of other sources or for more threads are in the file and do not count."""
    tasks, path = [task([10, 9])], tmp_path / "r.jsonl"
    assert tuner(tasks, path, FakeMachine()).run().measured == 2
    records = RecordStore(path).records
    others = ({"kernels": "b" * 16}, {"device_fingerprint": "f" * 16}, {"threads": 2})
    path.unlink()
    for change in others:
        for record in records:
            RecordStore(path).append(record.model_copy(update=change))
    again = tuner(tasks, path, FakeMachine()).run()
    assert (again.measured, again.reused) == (2, 0)
    assert len(RecordStore(path).records) == 2 * len(others) + 2


def test_drift_does_not_choose(tmp_path: Path) -> None:
    # The machine slows down to a half while it is tuned; the later candidates are the faster ones all the same.
    tasks = [task([20.0 - i / 2 for i in range(12)])]
    machine = FakeMachine(drift=lambda now_s: 1.0 + now_s / 3.0)
    result = tuner(tasks, tmp_path / "r.jsonl", machine).run()
    assert chosen_sizes(result) == [12]


def test_failures_cost_only_themselves(tmp_path: Path) -> None:
    tasks = [task([9, 1, 8, 1, 7, 1], failing={1: "crash", 3: "wrong", 5: "timeout"})]
    result = tuner(tasks, tmp_path / "r.jsonl", FakeMachine()).run()
    assert chosen_sizes(result) == [5]
    assert (result.measured, result.failed) == (3, 3)
    statuses = {record.parameters["size"]: record.status for record in RecordStore(tmp_path / "r.jsonl").records}
    assert statuses == {1: "ok", 2: "crash", 3: "ok", 4: "wrong", 5: "ok", 6: "timeout"}
    assert tuner(tasks, tmp_path / "r.jsonl", FakeMachine()).run().measured == 0


def test_a_failing_first_guess_is_replaced(tmp_path: Path) -> None:
    tasks = [task([9, 8, 7], failing={0: "crash"})]
    result = tuner(tasks, tmp_path / "r.jsonl", FakeMachine()).run()
    assert chosen_sizes(result) == [3] and result.layers[0].first_guess_ms is None
    assert result.sum_ms == pytest.approx(0.007)


def test_nothing_measured_is_an_error(tmp_path: Path) -> None:
    tasks = [task([9, 8], failing={0: "crash", 1: "wrong"})]
    for _ in range(2):  # and again when all of it is in the records already
        with pytest.raises(MissingError, match="nothing could be measured; the first failure: it is a crash"):
            tuner(tasks, tmp_path / "r.jsonl", FakeMachine()).run()


def test_one_layer_without_a_time_leaves_the_sum_unknown(tmp_path: Path) -> None:
    tasks = [task([9]), task([8], 17, failing={0: "crash"})]
    result = tuner(tasks, tmp_path / "r.jsonl", FakeMachine()).run()
    assert result.sum_ms is None
    assert [layer.latency_ms for layer in result.layers] == [pytest.approx(0.009), None]


def test_progress_tells_the_best_sum(tmp_path: Path) -> None:
    seen: list[Progress] = []
    tasks, machine = [task([10, 8, 6])], FakeMachine()
    store = RecordStore(tmp_path / "r.jsonl")
    Tuner(tasks, every_layer_once(tasks), DEVICE, store, machine.measure, "", 1e6, 1, seen.append, machine.clock).run()
    sums = [progress.sum_ms for progress in seen if progress.sum_ms is not None]
    assert sums == sorted(sums, reverse=True) and sums[-1] == pytest.approx(0.006)
    assert [progress.measured for progress in seen] == [1, 2, 3]
    assert [progress.elapsed_s for progress in seen] == sorted(progress.elapsed_s for progress in seen)


@pytest.mark.parametrize(("fused_us", "counts"), [(12.0, [1, 0, 0]), (30.0, [0, 1, 1])])
def test_a_group_is_counted_where_it_pays(tmp_path: Path, fused_us: float, counts: list[int]) -> None:
    parts = [task([10.0]), Task(pointwise(17), (FakeCandidate(1, 8.0),))]
    work = GroupWork((parts[0].work, parts[1].work), ((-1,), (0,)))  # type: ignore[arg-type]
    group = Task(work, (FakeCandidate(1, fused_us),))
    tasks, machine = [group, *parts], FakeMachine()

    def plan(fuse: object) -> dict[object, int]:
        return {group.key: 1} if fuse(work) else {part.key: 1 for part in parts}  # type: ignore[operator]

    store = RecordStore(tmp_path / "r.jsonl")
    result = Tuner(tasks, plan, DEVICE, store, machine.measure, "", 10.0, clock=machine.clock).run()  # type: ignore[arg-type]
    assert [layer.count for layer in result.layers] == counts
    assert result.sum_ms == pytest.approx(min(fused_us, 18.0) / 1e3)
    assert result.layers[0].task.key == work_key(work)


def test_expectations_follow_what_was_measured() -> None:
    one = task(valley(10, 20))
    log_ratios = np.log(np.array(valley(10, 20)) / 100.0).tolist()
    samples = [Sample(one, i, log_ratios[i]) for i in (0, 4, 8, 12, 16)]
    remaining = [i for i in range(20) if i not in (0, 4, 8, 12, 16)]
    values = dict(zip(remaining, expected_improvement(one, remaining, samples), strict=True))
    assert max(values, key=lambda index: values[index]) in (9, 10, 11)
    assert min(values.values()) >= 0.0
    # Another layer of the same kind has been measured where this one has not.
    other = task(valley(10, 20), 18)
    known = [Sample(other, i, log_ratio) for i, log_ratio in enumerate(log_ratios)]
    transferred = expected_improvement(one, list(range(1, 20)), [Sample(one, 0, 0.0), *known])
    assert int(np.argmax(transferred)) + 1 in (9, 10, 11)


def test_candidates_of_one_round_differ() -> None:
    one = task([1.0] * 20)
    taken = distinct(one, list(range(20)), np.linspace(1.0, 0.9, 20), 3)
    indices = [index for index, _ in taken]
    assert indices[0] == 0 and len(set(indices)) == 3
    assert min(abs(a - b) for a in indices for b in indices if a != b) >= 3
    assert len(distinct(one, [4, 5], np.array([0.1, 0.2]), 8)) == 2
