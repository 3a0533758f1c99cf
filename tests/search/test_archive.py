"""The Pareto archive against brute force."""

from hypothesis import given
from hypothesis import strategies as st

from mnv3c.search.archive import Archive, Point

# Few values, so that ties are common.
VALUES = st.integers(0, 6)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=40))
def test_holds_exactly_the_points_that_none_beats(pairs: list[tuple[int, int]]) -> None:
    points = [Point(float(latency), accuracy / 6, str(number)) for number, (latency, accuracy) in enumerate(pairs)]
    archive = Archive()
    for point in points:
        archive.add(point)

    best: dict[tuple[float, float], Point] = {}
    for point in points:
        if not any(other.beats(point) for other in points):
            best.setdefault((point.latency_ms, point.accuracy), point)

    assert list(archive) == [best[key] for key in sorted(best)]


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40), VALUES)
def test_the_best_within_a_latency(pairs: list[tuple[int, int]], most_ms: int) -> None:
    archive = Archive()
    for latency, accuracy in pairs:
        archive.add(Point(float(latency), accuracy / 6, ""))

    found = archive.best_within(most_ms)

    within = [accuracy / 6 for latency, accuracy in pairs if latency <= most_ms]
    assert (None if found is None else found.accuracy) == max(within, default=None)


def test_says_whether_a_point_was_taken() -> None:
    archive = Archive()
    assert archive.add(Point(2.0, 0.5, "a"))
    assert not archive.add(Point(2.0, 0.5, "equal"))
    assert not archive.add(Point(3.0, 0.4, "worse"))
    assert archive.add(Point(2.0, 0.6, "better"))
    assert [point.subnet for point in archive] == ["better"]
