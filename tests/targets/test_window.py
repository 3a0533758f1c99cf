"""Sliding windows: axes against the definition of a convolution, tiles against a count of every output and tap."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mnv3c.targets.cpu.builder import KernelBuilder
from mnv3c.targets.cpu.window import (
    Axis,
    ColumnTile,
    convolution_axis,
    for_column_tiles,
    for_rows_inside,
    tile_width,
    transposed_axes,
)

draws = settings(max_examples=200, derandomize=True, deadline=None)
SIZE, TAPS, STRIDE, PAD = st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 7)


class Recorder:
    """Stands for the builder where loop variables may be numbers: runs each loop instead of printing it."""

    def __init__(self) -> None:
        self.holds = True
        self.loops: list[int] = []

    def run(self, print_body: Callable[[KernelBuilder], None]) -> None:
        print_body(cast(KernelBuilder, self))

    @contextmanager
    def serial(self, extent: int) -> Iterator["LoopVariable"]:
        self.loops.append(extent)
        yield LoopVariable(extent)

    @contextmanager
    def when(self, condition: bool) -> Iterator[None]:
        yield

    def both(self, a: bool, b: bool) -> bool:
        return a and b


class LoopVariable:
    """All values of a loop variable at once, under the arithmetic that tiles use."""

    def __init__(self, extent: int, values: tuple[int, ...] | None = None) -> None:
        self.values = tuple(range(extent)) if values is None else values

    def __add__(self, other: int) -> "LoopVariable":
        return LoopVariable(0, tuple(value + other for value in self.values))

    def __mul__(self, other: int) -> "LoopVariable":
        return LoopVariable(0, tuple(value * other for value in self.values))

    __radd__, __rmul__ = __add__, __mul__


def starts_of(tile: ColumnTile) -> tuple[int, ...]:
    return tile.start.values if isinstance(tile.start, LoopVariable) else (tile.start,)


def tiles_of(axis: Axis, width: int) -> tuple[list[ColumnTile], list[int]]:
    recorder, tiles = Recorder(), list[ColumnTile]()
    recorder.run(lambda k: for_column_tiles(k, axis, width, tiles.append))
    return tiles, recorder.loops


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    size, taps, stride, dilation = draw(SIZE), draw(TAPS), draw(STRIDE), draw(st.integers(1, 3))
    before, after = draw(PAD), draw(PAD)
    count = (size + before + after - dilation * (taps - 1) - 1) // stride + 1
    assume(count >= 1)
    if draw(st.booleans()):
        return convolution_axis(size, count, taps, stride, before, dilation)
    count = (size - 1) * stride + taps - before - after
    assume(count >= 1)
    return draw(st.sampled_from(transposed_axes(size, count, taps, stride, before)))


def test_a_convolution_reads_what_its_definition_says() -> None:
    axis = convolution_axis(size=9, count=5, taps=3, stride=2, padding=1, dilation=2)
    reads = [[int(axis.input(i, j)) for j in range(3)] for i in range(5)]
    assert reads == [[2 * i - 1 + 2 * j for j in range(3)] for i in range(5)]
    assert [axis.weight(j) for j in range(3)] == [0, 1, 2]
    assert [axis.output(i) for i in range(5)] == [0, 1, 2, 3, 4]
    assert [[axis.inside(i, j) for j in range(3)] for i in (0, 2, 4)] == [
        [False, True, True],
        [True, True, True],
        [True, False, False],
    ]


@given(SIZE, TAPS, STRIDE, PAD, PAD)
@draws
def test_phases_of_a_transposed_convolution_are_its_scatter(
    size: int, taps: int, stride: int, before: int, after: int
) -> None:
    count = (size - 1) * stride + taps - before - after
    assume(count >= 1)
    scattered = {
        (position * stride + tap - before, position, tap)
        for position in range(size)
        for tap in range(taps)
        if 0 <= position * stride + tap - before < count
    }
    phases = transposed_axes(size, count, taps, stride, before)
    gathered = [
        (int(axis.output(i)), int(axis.input(i, j)), axis.weight(j))
        for axis in phases
        for i in range(axis.count)
        for j in range(axis.taps)
        if axis.inside(i, j)
    ]
    assert sorted(gathered) == sorted(scattered)
    outputs = [int(axis.output(i)) for axis in phases for i in range(axis.count)]
    assert sorted(outputs) == list(range(count))


@given(axes(), st.integers(1, 12))
@draws
def test_tiles_cover_every_output_with_exactly_its_real_taps(axis: Axis, width: int) -> None:
    tiles, loops = tiles_of(axis, width)
    covered: set[int] = set()
    for tile in tiles:
        assert tile.width == min(width, axis.count)
        for start in starts_of(tile):
            assert 0 <= start <= axis.count - tile.width
            for column in range(tile.width):
                covered.add(start + column)
                for tap in range(axis.taps):
                    assert tile.reads(column, tap) == axis.inside(start + column, tap)
    assert covered == set(range(axis.count))
    # The tiles without checks are printed once, as a loop, however many there are.
    assert len(loops) <= 1 and all(extent > 1 for extent in loops)
    assert sum(len(starts_of(tile)) for tile in tiles) == -(-axis.count // min(width, axis.count))


@given(axes(), st.integers(0, 39), st.integers(1, 12))
@draws
def test_an_interior_has_only_real_taps(axis: Axis, start: int, width: int) -> None:
    start, width = min(start, axis.count - 1), min(width, axis.count - min(start, axis.count - 1))
    real = all(axis.inside(i, j) for i in range(start, start + width) for j in range(axis.taps))
    assert axis.interior(start, width) == real


def test_rows_are_tested_only_where_some_lie_in_the_padding() -> None:
    class Builder(Recorder):
        tests = 0

        @contextmanager
        def serial(self, extent: int) -> Iterator[int]:  # type: ignore[override]
            self.loops.append(extent)
            yield 0

        @contextmanager
        def when(self, condition: bool) -> Iterator[None]:
            Builder.tests += 1
            yield

    def rows(padding: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        axis = convolution_axis(8, 6 + 2 * padding, 3, 1, padding)
        Builder().run(lambda k: for_rows_inside(k, axis, 2, lambda tap, row: found.append((tap, row))))
        return found

    assert rows(0) == [(0, 2)] and Builder.tests == 0
    assert rows(1) == [(0, 1)] and Builder.tests == 1


@given(st.integers(1, 300), st.integers(1, 40))
@draws
def test_a_tile_width_needs_the_fewest_tiles_and_is_the_narrowest_of_those(count: int, most: int) -> None:
    width = tile_width(count, most)
    fewest = min(-(-count // w) for w in range(1, most + 1))
    narrowest = next(w for w in range(1, most + 1) if -(-count // w) == fewest)
    assert width == narrowest
