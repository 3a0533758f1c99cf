"""The networks that no other beats in both latency and accuracy."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Point:
    """A network that was judged: its latency, its accuracy (0..1) and its name in the space."""

    latency_ms: float
    accuracy: float
    subnet: str

    def beats(self, other: "Point") -> bool:
        """Whether it is nowhere worse and somewhere better."""
        nowhere_worse = self.latency_ms <= other.latency_ms and self.accuracy >= other.accuracy
        return nowhere_worse and (self.latency_ms, self.accuracy) != (other.latency_ms, other.accuracy)


@dataclass
class Archive:
    """A Pareto archive, by growing latency and so by growing accuracy; of equal points the first stays."""

    _points: list[Point] = field(default_factory=list)

    def add(self, point: Point) -> bool:
        """Take a point in, and throw out those that it beats; False where it is beaten or has an equal."""
        place = bisect_right(self._points, point.latency_ms, key=lambda known: known.latency_ms)
        if place and self._points[place - 1].accuracy >= point.accuracy:
            return False
        start = bisect_left(self._points, point.latency_ms, key=lambda known: known.latency_ms)
        stop = start
        while stop < len(self._points) and self._points[stop].accuracy <= point.accuracy:
            stop += 1
        del self._points[start:stop]
        insort(self._points, point)
        return True

    def __iter__(self) -> Iterator[Point]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)

    def best_within(self, latency_ms: float) -> Point | None:
        """The most accurate of those that take no longer; None where there is none."""
        place = bisect_right(self._points, latency_ms, key=lambda known: known.latency_ms)
        return self._points[place - 1] if place else None
