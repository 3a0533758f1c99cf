"""Choosing by records: which count, and what noise may decide."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.compiler.tune.fakes import FakeCandidate, failure, pointwise, record

from mnv3c.compiler.tune.choice import RecordedChoice, fusion_pays, pick, scores
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.work import Work, kernels_fingerprint, splits, work_key
from mnv3c.graph.ops import Conv2d
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import GroupWork, LayerWork

DEVICE = find_device("haswell")
CANDIDATES = tuple(FakeCandidate(size, 0.0) for size in (1, 2, 3))
HERE = {"device_fingerprint": DEVICE.fingerprint[:16], "kernels": kernels_fingerprint()}
WORK = pointwise()
LAYER = work_key(WORK)[0]


def timed(size: int, median_us: float, **changes: Any) -> Record:
    """A record whose baseline took 10 us unless `changes` say otherwise."""
    ratio = median_us / changes.get("baseline_us", 10.0)
    own = {"layer": LAYER, "parameters": {"size": size}, "median_us": median_us, "ratio": ratio}
    return record(**{**own, **HERE, **changes})


def chosen(records: Sequence[Record], threads: int = 1) -> int | None:
    """Size of the candidate that the records choose; None where they choose none."""
    choice = RecordedChoice(records, DEVICE, threads)
    candidate = choice.choose(WORK, CANDIDATES)
    assert isinstance(candidate, FakeCandidate)
    assert choice.recorded in (frozenset(), {candidate})
    return candidate.size if choice.recorded else None


def test_weights_in_half_precision_are_another_layer() -> None:
    half = replace(WORK, weights="fp16")
    assert work_key(half) == (f"{LAYER} weights=fp16", WORK.storage)
    assert LAYER == "conv2d 1x7x7x16->1x7x7x16"
    records = [timed(2, 8.0), timed(3, 9.0, layer=work_key(half)[0])]
    assert chosen(records) == 2
    choice = RecordedChoice(records[:1], DEVICE)
    assert choice.choose(half, CANDIDATES) == CANDIDATES[0] and choice.recorded == frozenset()


def test_the_fastest_is_chosen() -> None:
    assert chosen([]) is None
    assert chosen([timed(1, 10.0), timed(2, 8.0), timed(3, 9.0)]) == 2


def test_within_noise_the_earlier_guess_is_chosen() -> None:
    assert chosen([timed(2, 10.0), timed(3, 9.93)]) == 2
    assert chosen([timed(1, 12.0), timed(2, 9.8), timed(3, 9.75)]) == 2
    assert chosen([timed(2, 10.0, ratio_error=0.02), timed(3, 9.8)]) == 2


def test_the_first_guess_is_beaten_by_more_than_doubt_only() -> None:
    assert chosen([timed(1, 10.0), timed(2, 9.6)]) == 1
    assert chosen([timed(1, 10.0), timed(2, 9.4)]) == 2
    # However large the error, five percent are not noise.
    assert chosen([timed(1, 10.0, ratio_error=0.5), timed(2, 9.0, ratio_error=0.5)]) == 2


def test_drift_between_measurements_is_taken_out() -> None:
    slow = timed(2, 15.0, baseline_us=20.0)
    assert scores([timed(1, 10.0), slow])["fake size=2"].latency_us == pytest.approx(0.75 * 15.0)
    assert chosen([timed(1, 10.0), slow]) == 2


@pytest.mark.parametrize(
    "change", [{"target": "arm64"}, {"device_class": "other"}, {"threads": 2}, {"storage": ("NHWC",)}, {"layer": "x"}]
)
def test_records_of_something_else_say_nothing(change: dict[str, Any]) -> None:
    assert chosen([timed(2, 1.0, **change)]) is None


def test_threads_have_records_of_their_own() -> None:
    records = [timed(2, 1.0), timed(3, 9.0, threads=2)]
    assert (chosen(records, 1), chosen(records, 2)) == (2, 3)
    # Without records for so many threads those for one decide, but no others.
    assert chosen(records, 4) == 2
    assert chosen(records[1:], 4) is None and chosen(records[1:], 1) is None
    # Also before those of this very device: a class's records for two threads tell more of two threads.
    elsewhere = timed(3, 9.0, threads=2, device_fingerprint="f" * 16, kernels="b" * 16)
    assert chosen([timed(2, 1.0), elsewhere], 2) == 3


def test_what_failed_here_is_not_taken_by_older_records() -> None:
    old = [timed(1, 10.0, kernels="b" * 16), timed(2, 5.0, kernels="b" * 16), timed(3, 7.0, kernels="b" * 16)]
    assert chosen(old) == 2
    assert chosen([*old, failure(layer=LAYER, parameters={"size": 2}, **HERE)]) == 3


def test_this_device_before_its_class_and_new_sources_before_old() -> None:
    elsewhere = timed(1, 1.0, device_fingerprint="f" * 16)
    assert chosen([elsewhere]) == 1
    assert chosen([elsewhere, timed(2, 5.0)]) == 2
    old = timed(3, 1.0, kernels="b" * 16)
    assert chosen([old]) == 3
    assert chosen([old, timed(2, 5.0)]) == 2
    assert chosen([old, timed(2, 5.0, kernels="c" * 16, when="2026-02-02T03:04:05Z")]) == 2


def test_candidates_that_are_no_longer_offered_do_not_count() -> None:
    assert chosen([timed(9, 1.0)]) is None
    assert chosen([timed(9, 1.0), timed(2, 5.0)]) == 2
    assert chosen([timed(9, 1.0), timed(2, 5.0, kernels="b" * 16)]) == 2


def test_a_failed_first_guess_is_not_taken() -> None:
    failed = failure(layer=LAYER, parameters={"size": 1}, **HERE)
    assert chosen([failed]) == 2
    assert chosen([failed, failure("wrong", layer=LAYER, parameters={"size": 2}, **HERE)]) == 3
    assert chosen([failed, timed(3, 2.0)]) == 3
    # The sources have changed since.
    assert chosen([failure(layer=LAYER, parameters={"size": 1}, **HERE | {"kernels": "b" * 16})]) is None


def test_no_score_no_pick() -> None:
    assert pick(CANDIDATES, {}) is None


# A group of three: the last part reads the second and, as its residual, the group's input.
PARTS = tuple(pointwise(channels) for channels in (16, 17, 16))
LAST = LayerWork(
    Conv2d(16, (1, 1), residual="before_activation"),
    (TensorType((1, 7, 7, 17)), PARTS[0].inputs[0]),
    PARTS[2].output,
    ("target", "target"),
)
GROUP = GroupWork((*PARTS[:2], LAST), ((-1,), (0,), (1, -1)))


def test_splitting_a_group_keeps_its_wiring() -> None:
    (first, rest), (pair, last) = splits(GROUP)
    assert (first, last) == (PARTS[0], LAST)
    assert pair == GroupWork(PARTS[:2], ((-1,), (0,)))
    assert rest == GroupWork((PARTS[1], LAST), ((-1,), (0, -2)))
    assert list(splits(PARTS[0])) == []
    assert len({work_key(work) for work in (GROUP, first, rest, pair, last)}) == 5
    assert work_key(GROUP)[0].endswith(" from=-1/0/1,-1") and work_key(GROUP)[1] == ("target",)
    assert work_key(pair)[0] == " | ".join(work_key(part)[0] for part in PARTS[:2])


@pytest.mark.parametrize(
    ("fused_us", "pair_us", "pays"),
    [(5.9, None, True), (6.05, None, True), (6.2, None, False), (5.5, 2.0, False), (4.9, 2.0, True), (None, 2.0, True)],
)
def test_fusion_has_to_pay(fused_us: float | None, pair_us: float | None, pays: bool) -> None:
    first, second = PARTS[0], PARTS[1]
    times: dict[Work, float | None] = {GROUP: fused_us, first: 1.0, second: 2.0, LAST: 3.0}
    times[GroupWork((first, second), ((-1,), (0,)))] = pair_us
    assert fusion_pays(GROUP, times.get) is pays
    assert fusion_pays(GROUP, {GROUP: 99.0, first: 1.0}.get)


def test_a_group_by_records() -> None:
    def group_choice(*records: Record) -> int | None:
        candidate = RecordedChoice(records, DEVICE).choose_group(GROUP, CANDIDATES)
        assert candidate is None or isinstance(candidate, FakeCandidate)
        return candidate and candidate.size

    def part(work: Work, median_us: float, size: int = 1) -> Record:
        layer, storage = work_key(work)
        return timed(size, median_us, layer=layer, storage=storage, baseline_us=median_us)

    parts = [part(PARTS[0], 1.0), part(PARTS[1], 2.0), part(LAST, 3.0)]
    assert group_choice() == 1
    assert group_choice(*parts, part(GROUP, 5.0, 3)) == 3
    assert group_choice(*parts, part(GROUP, 7.0, 3)) is None
    assert group_choice(*parts[:2], part(GROUP, 7.0, 3)) == 3
    layer, storage = work_key(GROUP)
    failed = [failure(layer=layer, storage=storage, parameters={"size": size}, **HERE) for size in (1, 2, 3)]
    assert group_choice(*failed[:2]) == 3
    assert group_choice(*failed) is None


def test_a_group_compares_with_parts_of_as_many_threads() -> None:
    def records(threads: int, *times_us: float) -> list[Record]:
        keyed = zip((GROUP, PARTS[0], PARTS[1], LAST), times_us, strict=False)
        named = ((work_key(work), time_us) for work, time_us in keyed)
        return [
            timed(1, time_us, layer=layer, storage=storage, baseline_us=time_us, threads=threads)
            for (layer, storage), time_us in named
        ]

    def fused(known: Sequence[Record], threads: int) -> bool:
        return RecordedChoice(known, DEVICE, threads).choose_group(GROUP, CANDIDATES) is not None

    one, two = records(1, 5.0, 1.0, 2.0, 3.0), records(2, 4.0, 0.5, 1.0, 1.5)
    assert fused(one, 1) and not fused(two, 2)
    assert (fused(one + two, 1), fused(one + two, 2), fused(one + two, 4)) == (True, False, True)
    # Parts that were timed with one thread say nothing of a group that was timed with two.
    assert fused(records(1, 9.0, 0.5, 1.0, 1.5) + two[:1], 2)
