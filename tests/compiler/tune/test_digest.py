"""The records that are shipped: few, and enough to choose as all of them do."""

from hypothesis import given
from hypothesis import strategies as st
from tests.compiler.tune.fakes import FakeCandidate, failure, pointwise, record

from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.digest import best_records
from mnv3c.compiler.tune.record import Record
from mnv3c.compiler.tune.work import kernels_fingerprint, work_key
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import GroupWork

DEVICE = find_device("haswell")
CANDIDATES = tuple(FakeCandidate(size, 0.0) for size in range(1, 7))
HERE = {"device_fingerprint": DEVICE.fingerprint[:16], "kernels": kernels_fingerprint()}
PARTS = (pointwise(16), pointwise(17))
GROUP = GroupWork(PARTS, ((-1,), (0,)))
WORKS = (*PARTS, GROUP)

RATIOS = st.lists(st.floats(0.5, 1.5), min_size=len(CANDIDATES), max_size=len(CANDIDATES))
DRIFTS = st.lists(st.floats(0.8, 1.3), min_size=len(CANDIDATES), max_size=len(CANDIDATES))
ERRORS = st.lists(st.floats(0.0, 0.02), min_size=len(CANDIDATES), max_size=len(CANDIDATES))
FAILED = st.sets(st.integers(1, len(CANDIDATES) - 1), max_size=3)


def layer(work: object, base_us: float, data: st.DataObject) -> list[Record]:
    """Records of all candidates of a layer, timed beside the first one while the machine's speed changed."""
    name, storage = work_key(work)  # type: ignore[arg-type]
    ratios, drifts, errors = data.draw(RATIOS), data.draw(DRIFTS), data.draw(ERRORS)
    failed, found = data.draw(FAILED), []
    for index, (ratio, drift, error) in enumerate(zip(ratios, drifts, errors, strict=True)):
        own = {"layer": name, "storage": storage, "parameters": {"size": index + 1}, **HERE}
        if index in failed:
            found.append(failure(**own))
            continue
        exact = round(ratio, 5) if index else 1.0
        baseline_us = round(base_us * drift, 3)
        times = {"baseline_us": baseline_us, "median_us": round(exact * baseline_us, 3), "ratio": exact}
        found.append(record(**own, **times, ratio_error=round(error, 5)))
    return found


def choices(records: tuple[Record, ...] | list[Record]) -> list[object]:
    choice = RecordedChoice(records, DEVICE)
    return [choice.choose_group(GROUP, CANDIDATES), *(choice.choose(part, CANDIDATES) for part in PARTS)]


@given(st.data())
def test_few_records_choose_as_all_do(data: st.DataObject) -> None:
    times_us = (10.0, 20.0, data.draw(st.floats(20.0, 40.0)))
    everything = [one for work, base_us in zip(WORKS, times_us, strict=True) for one in layer(work, base_us, data)]
    few = best_records(everything)
    assert choices(few) == choices(everything)
    assert few == best_records(data.draw(st.permutations(everything)))
    assert {one.key for one in best_records(few)} == {one.key for one in few}
    assert [one.key for one in few] == sorted(one.key for one in few)


def test_what_is_left_out_and_what_stays() -> None:
    def timed(size: int, ratio: float, **changes: object) -> Record:
        baseline_us = 10.0
        times = {"ratio": ratio, "median_us": ratio * baseline_us, "baseline_us": baseline_us}
        return record(**{"parameters": {"size": size}, **times, **changes})

    everything = [
        timed(1, 1.0),
        timed(2, 0.8),
        timed(3, 0.805),
        timed(4, 0.9),
        failure(parameters={"size": 5}),
        timed(2, 0.1, kernels="b" * 16, when="2025-01-02T03:04:05Z"),
        timed(4, 0.7, threads=2),
    ]
    kept = {(one.threads, one.parameters["size"], one.status) for one in best_records(everything)}
    # The fastest, what noise cannot tell from it, what they were compared with, and what failed.
    assert kept == {(1, 2, "ok"), (1, 3, "ok"), (1, 1, "ok"), (1, 5, "crash"), (2, 4, "ok")}
    assert {one.kernels for one in best_records(everything)} == {"a" * 16}


def test_estimates_that_tie_stay() -> None:
    nothing = dict.fromkeys(("median_us", "min_us", "baseline_us", "ratio", "ratio_error"))
    everything = [
        record(
            parameters={"size": size}, basis="llvm-mca", model="cortex-a76", estimated_cycles=cycles,
            baseline="", n=0, **nothing,
        )
        for size, cycles in ((1, 120.0), (2, 101.0), (3, 100.0))
    ]  # fmt: skip
    assert {one.parameters["size"] for one in best_records(everything)} == {2, 3}
