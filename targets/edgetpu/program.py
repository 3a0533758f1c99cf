"""From a candidate tiling to the order of its steps."""

from mnv3c.targets.edgetpu.candidate import Candidate
from mnv3c.targets.edgetpu.timeline import Program, Run, fewer, loop, split_first, steps


def program(candidate: Candidate, repeats: int, *, reads_whole: bool, held: bool) -> Program:
    """All steps of a layer. One that reads everything first stores once, after the last position."""
    if candidate.rows_outer:
        runs = _rows_outer(candidate)
    elif candidate.lines * (candidate.whole + candidate.edge) == 1:
        runs = _one_position(candidate)
    else:
        runs = (loop(candidate.whole_channels, _one_channel_tile(candidate, 0, reads_whole)),)
        if candidate.edge_channels:
            runs += _one_channel_tile(candidate, 1, reads_whole)
    return Program.of(runs if repeats == 1 else (loop(repeats, runs),), held=held)


def _one_position(candidate: Candidate) -> tuple[Run, ...]:
    """All positions are one tile: every tile has weights of its own, and a slab of input that may stay."""
    fresh = not candidate.keeps_slab
    return (
        *_tiles(candidate, 1, 0, 0, slab=True, weights=True),
        *_tiles(candidate, candidate.whole_channels - 1, 0, 0, slab=fresh, weights=True),
        *_tiles(candidate, candidate.edge_channels, 0, 1, slab=fresh, weights=True),
    )


def _one_channel_tile(candidate: Candidate, place: int, reads_whole: bool) -> tuple[Run, ...]:
    """All positions of one tile of channels; its weights come with the first unless they cannot stay."""
    stays, stores = candidate.depths == 1, not reads_whole
    line = _tiles(candidate, candidate.whole, 0, place, slab=True, weights=not stays, stores=stores)
    line += _tiles(candidate, candidate.edge, 1, place, slab=True, weights=not stays, stores=stores)
    runs = line if candidate.lines == 1 else (loop(candidate.lines, line),)
    if stays and candidate.weights:
        runs = _tiles(candidate, 1, 0, place, slab=True, weights=True, stores=stores) + split_first(runs)[1]
    if reads_whole:
        runs = without_last(runs) + _tiles(candidate, 1, candidate.edge, place, slab=True, weights=False)
    return runs


def _rows_outer(candidate: Candidate) -> tuple[Run, ...]:
    """Every position runs through all channels; its slab of input comes with the first unless it cannot stay."""
    fresh = not candidate.keeps_slab
    line: tuple[Run, ...] = ()
    for edge, count in ((0, candidate.whole), (1, candidate.edge)):
        if count:
            body = (
                *_tiles(candidate, 1, edge, 0, slab=True, weights=True),
                *_tiles(candidate, candidate.whole_channels - 1, edge, 0, slab=fresh, weights=True),
                *_tiles(candidate, candidate.edge_channels, edge, 1, slab=fresh, weights=True),
            )
            line += (loop(count, body),)
    return line if candidate.lines == 1 else (loop(candidate.lines, line),)


def _tiles(
    candidate: Candidate, count: int, edge: int, place: int, *, slab: bool, weights: bool, stores: bool = True
) -> tuple[Run, ...]:
    """So many equal tiles; of several parts in depth, each is as many steps, of which the last posts and stores."""
    if not count:
        return ()
    loaded, brought, beside, array, post, stored = candidate.cycles(edge, place)
    loaded, brought = loaded if weights else 0, brought if slab else 0
    last = (loaded, brought + beside, array, post, stored if stores else 0, False)
    if candidate.depths == 1:
        return (steps(count, last),)
    parts = steps(candidate.depths - 1, (loaded, brought, array, 0, 0, False))
    return (loop(count, (parts, steps(1, last))),)


def without_last(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """The runs without their very last step."""
    *rest, run = runs
    left = (fewer(run),) if run.repeats > 1 else ()
    return (*rest, *left, *(without_last(run.body) if run.step is None else ()))
