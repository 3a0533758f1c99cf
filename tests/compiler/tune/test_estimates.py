"""Estimates: how they are recorded, what they may decide, and how a search by them goes. Nothing is emulated here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.compiler.tune.fakes import FakeCandidate, failure, pointwise, record

from mnv3c.compiler.machine_code import Function, Instruction
from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.emulated import Block, Executed
from mnv3c.compiler.tune.estimate import pieces_of
from mnv3c.compiler.tune.record import Basis, Record, decode, encode
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.static_measure import Estimate, Offer
from mnv3c.compiler.tune.static_tuner import StaticTuner
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.work import WorkKey, kernels_fingerprint, work_key
from mnv3c.graph.errors import MissingError
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import GroupWork

DEVICE = find_device("cortex-a76")
CANDIDATES = tuple(FakeCandidate(size, 0.0) for size in (1, 2, 3))
WORK = pointwise()
HERE = {
    "layer": work_key(WORK)[0],
    "target": "arm64",
    "device": DEVICE.name,
    "device_class": DEVICE.llvm.cpu,
    "device_fingerprint": DEVICE.fingerprint[:16],
    "kernels": kernels_fingerprint(),
}
NO_TIMES = {
    **dict.fromkeys(("median_us", "min_us", "baseline_us", "ratio", "ratio_error")),
    "n": 0,
    "baseline": "",
}


def timed(size: int, median_us: float) -> Record:
    return record(**{**HERE, "parameters": {"size": size}, "median_us": median_us, "ratio": median_us / 10.0})


def estimated(size: int, cycles: float, **changes: Any) -> Record:
    own = {"parameters": {"size": size}, "basis": "llvm-mca", "model": "cortex-a710", "estimated_cycles": cycles}
    return record(**{**HERE, **NO_TIMES, **own, **changes})


def test_a_measured_record_is_written_as_before_there_were_estimates() -> None:
    line = encode(record())
    assert not any(name in line for name in (b"basis", b"model", b"estimated_cycles", b"instructions_per_mac"))
    assert decode(line, "line").basis == "measured"


def test_an_estimate_survives_its_line() -> None:
    one = estimated(1, 123.5, instructions_per_mac=0.4)
    assert decode(encode(one), "line") == one
    failed = failure(basis="llvm-mca", model="cortex-a710")
    assert decode(encode(failed), "line") == failed
    assert one.key != record(**{**HERE, "parameters": {"size": 1}}).key


@pytest.mark.parametrize(
    "changes",
    [
        {"estimated_cycles": 5.0},
        {"model": "cortex-a710"},
        {"instructions_per_mac": 0.5},
        {"basis": "llvm-mca"},
        {"basis": "llvm-mca", "model": "m", "estimated_cycles": 5.0},
        {**NO_TIMES, "basis": "llvm-mca", "model": "m"},
        {**NO_TIMES, "basis": "llvm-mca", "estimated_cycles": 5.0},
        {**NO_TIMES, "basis": "llvm-mca", "model": "m", "estimated_cycles": 0.0},
        {**NO_TIMES, "basis": "guess", "model": "m", "estimated_cycles": 5.0},
    ],
)
def test_times_and_estimates_do_not_mix_in_a_record(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"estimate|measured|greater than 0|basis"):
        record(**changes)


def chosen(records: Sequence[Record]) -> tuple[int, str]:
    """Size of the candidate that is chosen, and by what."""
    choice = RecordedChoice(records, DEVICE)
    candidate = choice.choose(WORK, CANDIDATES)
    assert isinstance(candidate, FakeCandidate)
    assert not choice.recorded & choice.estimated
    by = "records" if candidate in choice.recorded else "llvm-mca" if candidate in choice.estimated else "guess"
    return candidate.size, by


def test_the_least_cycles_are_chosen_and_ties_go_to_the_first_guess() -> None:
    assert chosen([estimated(1, 100.0), estimated(2, 90.0), estimated(3, 95.0)]) == (2, "llvm-mca")
    assert chosen([estimated(1, 101.9), estimated(2, 100.0)]) == (1, "llvm-mca")
    assert chosen([estimated(1, 102.1), estimated(2, 100.0)]) == (2, "llvm-mca")


def test_whatever_was_measured_wins() -> None:
    assert chosen([timed(1, 10.0), estimated(2, 1.0)]) == (1, "records")
    assert chosen([estimated(2, 1.0), timed(3, 1e6)]) == (3, "records")


def test_what_failed_when_measured_is_not_chosen_by_an_estimate() -> None:
    crashed = failure(**HERE, parameters={"size": 2})
    assert chosen([crashed, estimated(1, 5.0), estimated(2, 1.0)]) == (1, "llvm-mca")
    assert chosen([failure(**HERE, parameters={"size": 1}), estimated(1, 1.0)]) == (2, "records")


def test_estimates_compare_with_their_like_only() -> None:
    loops = estimated(3, 1.0, basis="llvm-mca-loops")
    assert chosen([estimated(1, 100.0), estimated(2, 90.0), loops]) == (2, "llvm-mca")
    assert chosen([loops]) == (3, "llvm-mca")
    other = estimated(3, 1.0, model="cortex-a57", when="2025-01-01T00:00:00Z")
    assert chosen([estimated(1, 100.0), estimated(2, 90.0), other]) == (2, "llvm-mca")
    assert chosen([estimated(2, 1.0, threads=2)]) == (1, "guess")


def test_estimates_do_not_take_groups_apart() -> None:
    group = GroupWork((WORK, WORK), ((-1,), (0,)))
    layer = work_key(group)[0]
    choice = RecordedChoice([estimated(1, 1e9, layer=layer), estimated(1, 1.0)], DEVICE)
    assert choice.choose_group(group, CANDIDATES) == CANDIDATES[0]
    assert choice.estimated == {CANDIDATES[0]}
    better = RecordedChoice([estimated(1, 9.0, layer=layer), estimated(2, 8.0, layer=layer)], DEVICE)
    assert better.choose_group(group, CANDIDATES) == CANDIDATES[1]


def code(*lines: tuple[str, int | None]) -> tuple[Instruction, ...]:
    return tuple(Instruction(4 * i, name, "", jumps_to) for i, (name, jumps_to) in enumerate(lines))


def test_pieces_are_loops_and_runs_without_a_branch() -> None:
    # 0 mov; 4 mov; loop 8..12; 16 add; 20 jump to 28; 24 never; 28 ret
    section = code(
        ("mov", None),
        ("mov", None),
        ("fmla", None),
        ("b.ne", 8),
        ("add", None),
        ("b", 28),
        ("nop", None),
        ("ret", None),
    )
    base = 0x400000 - 4  # the function begins 4 bytes into the section
    blocks = (
        Block(base + 4, 3, 1),  # from its second instruction through the loop's first turn
        Block(base + 8, 2, 9),
        Block(base + 16, 2, 1),
        Block(base + 28, 1, 1),
        Block(0x900000, 7, 3),  # a helper elsewhere
    )
    executed = Executed(0x400000, blocks)
    pieces = [
        (piece.code[0].address, len(piece.code), piece.executions)
        for piece in pieces_of(Function(section, 4), executed)
    ]
    assert pieces == [(4, 1, 1), (8, 2, 10), (16, 2, 1), (28, 1, 1)]
    assert executed.instructions == 3 + 18 + 2 + 1 + 21


def test_a_loop_that_is_left_from_its_middle_counts_block_by_block() -> None:
    section = code(("fmla", None), ("cbz", 16), ("fmla", None), ("b", 0), ("ret", None))
    executed = Executed(0, (Block(0, 2, 6), Block(8, 2, 1), Block(16, 1, 5)))
    pieces = [(piece.code[0].address, piece.executions) for piece in pieces_of(Function(section, 0), executed)]
    assert pieces == [(0, 6), (8, 1), (16, 5)]


@dataclass
class FakeEstimator:
    """Cycles by a table; a second each. Keeps what it was given."""

    cycles: Mapping[tuple[WorkKey, int], float | None]
    now_s: float = 0.0
    given: list[tuple[WorkKey, int]] = field(default_factory=list)
    basis: Basis = "llvm-mca"
    model: str = "cortex-a710"

    def clock(self) -> float:
        return self.now_s

    def __call__(self, offers: Sequence[Offer], deadline_s: float) -> Iterator[Estimate]:
        for offer in offers:
            if self.now_s >= deadline_s:
                return
            assert isinstance(offer.candidate, FakeCandidate)
            key = (offer.task.key, offer.candidate.size)
            self.given.append(key)
            self.now_s += 1.0
            cycles = self.cycles[key]
            if cycles is None:
                yield Estimate(offer, "crash", "it crashed")
            else:
                yield Estimate(offer, "ok", "", cycles, offer.task.macs // 2)


def tuner(store: RecordStore, tasks: Sequence[Task], estimator: FakeEstimator, budget_s: float) -> StaticTuner:
    def plan(fuse: Callable[[GroupWork], bool]) -> Mapping[WorkKey, int]:
        return {task.key: 2 for task in tasks}

    return StaticTuner(tasks, plan, DEVICE, store, estimator, "a machine", budget_s, clock=estimator.clock)


def tasks_of(*channels: int) -> list[Task]:
    return [Task(pointwise(each), CANDIDATES) for each in channels]


def test_first_guesses_come_first_and_a_second_run_estimates_nothing(tmp_path: Path) -> None:
    small, large = tasks = tasks_of(16, 32)
    table = {(small.key, 1): 10.0, (small.key, 2): 9.0, (small.key, 3): 8.0}
    table |= {(large.key, 1): 1000.0, (large.key, 2): 500.0, (large.key, 3): 495.0}
    store, estimator = RecordStore(tmp_path / "r.jsonl"), FakeEstimator(table)
    none = tuner(store, tasks, estimator, 0.0).run()
    assert estimator.given == [(small.key, 1), (large.key, 1)]
    assert none.cycles == none.first_guess_cycles == 2 * 1010.0 and none.instructions_per_mac == 0.5
    result = tuner(store, tasks, estimator, 100.0).run()
    assert estimator.given[2:4] == [(large.key, 2), (large.key, 3)]
    assert (result.estimated, result.failed, result.reused) == (4, 0, 2)
    assert [layer.cycles for layer in result.layers] == [8.0, 500.0]
    assert [layer.first_guess_cycles for layer in result.layers] == [10.0, 1000.0]
    again = FakeEstimator(table)
    resumed = tuner(RecordStore(store.path), tasks, again, 100.0).run()
    assert again.given == [] and resumed.reused == 6 and resumed.cycles == result.cycles
    assert all(one.basis == "llvm-mca" and one.median_us is None for one in store.records)


def test_a_candidate_that_crashes_gives_way_to_the_next(tmp_path: Path) -> None:
    (task,) = tasks = tasks_of(16)
    table = {(task.key, 1): None, (task.key, 2): 7.0, (task.key, 3): None}
    result = tuner(RecordStore(tmp_path / "r.jsonl"), tasks, FakeEstimator(table), 0.0).run()
    assert (result.layers[0].cycles, result.layers[0].first_guess_cycles, result.failed) == (7.0, None, 1)
    nothing = FakeEstimator({(task.key, size): None for size in (1, 2, 3)})
    with pytest.raises(MissingError, match="nothing could be estimated; the first failure: it crashed"):
        tuner(RecordStore(tmp_path / "other.jsonl"), tasks, nothing, 100.0).run()
