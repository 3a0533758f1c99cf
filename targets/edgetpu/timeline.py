"""The tile-event timeline: one DMA channel, the array, the vector unit, and two buffers for everything.

A step is one tile: load (DMA) -> compute (array) -> post (vector unit) -> store (DMA). Each resource takes its work in
order, and the DMA's order is load 0, load 1, store 0, load 2, store 1, ... An event starts at the latest of: its
resource is free; what it reads is there; the buffer that it fills, used two steps ago, is free:

    load i     DMA free, array done with step i - 2 (or the post, where that reads what was loaded)
    compute i  array free, load i, accumulators of the last but one output freed by its post
    post i     vector unit free, compute i, the last but one output stored
    store i    DMA free, post i

Layers run one after the other: a layer's array and activations wait for the end of the layer before (and its launch),
but its first weights are loaded before that, as soon as the DMA is free and the layer before the last has ended.

The recurrence is a max-plus map: every time is a maximum of sums of earlier times and of durations. So no duration
that grows makes anything earlier, a later start ends no earlier, and once a repeated body moves all times by the same
amount it does so for ever. `advance` uses the last fact to jump; without it nothing but the running time changes.
"""

from typing import NamedTuple

# Cycles of one step: weights in, activations in, array, vector unit, out; and whether it reads the step before's post.
Step = tuple[int, int, int, int, int, bool]


class Run(NamedTuple):
    """`repeats` times: a step, or where that is None, the runs of `body` one after the other.

    `loads`, `posts` and `stores` say whether anything in it does.
    """

    repeats: int
    step: Step | None
    body: "tuple[Run, ...]"
    loads: bool
    posts: bool
    stores: bool


def steps(count: int, step: Step) -> Run:
    """So many equal steps."""
    weights, activations, _, vector, store, _ = step
    return Run(count, step, (), weights > 0 or activations > 0, vector > 0 or store > 0, store > 0)


def loop(count: int, body: tuple[Run, ...]) -> Run:
    """The body so many times."""
    if len(body) == 1 and (count == 1 or body[0].repeats == 1):
        run = body[0]
        return Run(count * run.repeats, run.step, run.body, run.loads, run.posts, run.stores)
    loads = posts = stores = False
    for run in body:
        loads, posts, stores = loads or run.loads, posts or run.posts, stores or run.stores
    return Run(count, None, body, loads, posts, stores)


class Entry(NamedTuple):
    """How a layer finds the machine.

    The DMA is free at `dma`, the layer before is done at `done`; its last store, of `pending` cycles, is still to come.
    """

    dma: int
    done: int
    pending: int


# All that later steps can depend on: when the DMA, the array, the vector unit and the stores ended (for the last three,
# the last one and the one before), and the cycles of the store that is still to come.
Times = tuple[int, int, int, int, int, int, int, int]


class Program(NamedTuple):
    """A layer's steps: the first, and the runs after it.

    `held` says that the post reads what was loaded (vector work, a residual), so its buffer is free only then.
    """

    first: Step
    rest: tuple[Run, ...]
    held: bool

    @classmethod
    def of(cls, runs: tuple[Run, ...], *, held: bool) -> "Program":
        """All the runs."""
        first, rest = split_first(runs)
        return cls(first, rest, held)


def layer_end(entry: Entry, program: Program, launch: int) -> Entry:
    """How a layer leaves the machine."""
    times = first_step(entry, program.first, launch)
    dma, computed, _, posted, _, _, _, pending = advance(times, program.rest, program.held)
    return Entry(dma if dma > entry.done else entry.done, posted if posted > computed else computed, pending)


def first_step(entry: Entry, step: Step, launch: int) -> Times:
    """The times after a layer's first step, whose weights need not wait for the layer before."""
    weights, activations, array, vector, store, _ = step
    dma, done, pending = entry
    ready = start = done + launch
    if weights:
        dma += weights
        ready = max(ready, dma)
    if pending:
        dma = max(dma, done) + pending
    if activations:
        dma = max(dma, done) + activations
        ready = max(ready, dma)
    computed = ready + array
    return dma, computed, start, computed + vector, start, 0, 0, store


def split_first(runs: tuple[Run, ...]) -> tuple[Step, tuple[Run, ...]]:
    """The first step of some runs, and the same runs without it."""
    run, rest = runs[0], runs[1:]
    left = (fewer(run), *rest) if run.repeats > 1 else rest
    if run.step is not None:
        return run.step, left
    step, body = split_first(run.body)
    return step, (*body, *left)


def fewer(run: Run) -> Run:
    """One repetition less."""
    count, step, body, loads, posts, stores = run
    return Run(count - 1, step, body, loads, posts, stores)


def advance(times: Times, program: tuple[Run, ...], held: bool) -> Times:
    """The times after the runs of a program, jumping over repetitions once they move everything alike."""
    for run in program:
        if run.repeats > 1:
            times = _repeated(times, run, held)
        elif run.step is None:
            times = advance(times, run.body, held)
        else:
            times = next_step(times, run.step, held)
    return times


def _repeated(times: Times, run: Run, held: bool) -> Times:
    """The times after all repetitions of a run. They settle into a shift that recurs after one or two repetitions."""
    left, step, body, before = run.repeats, run.step, run.body, None
    while left:
        after = advance(times, body, held) if step is None else next_step(times, step, held)
        left -= 1
        if left > 1:
            if _moved_alike(run, times, after):
                return _shifted(run, times, after, left)
            if before is not None and _moved_alike(run, before, after):
                after = _shifted(run, before, after, left // 2)
                left %= 2
        before, times = times, after
    return times


def next_step(times: Times, step: Step, held: bool) -> Times:
    """The times after one more step: the recurrence itself."""
    weights, activations, array, vector, store, waits = step
    dma, computed, computed_before, posted, posted_before, stored, stored_before, pending = times
    start = posted if waits else posted_before
    if start < computed:
        start = computed
    if weights or activations:
        if dma < computed_before:
            dma = computed_before
        if held and dma < posted_before:
            dma = posted_before
        dma += weights + activations
        if start < dma:
            start = dma
    if pending:
        if dma < posted:
            dma = posted
        dma += pending
        stored_before, stored = stored, dma
    end = start + array
    if vector or store:
        posted_before = posted
        if posted < end:
            posted = end
        if posted < stored_before:
            posted = stored_before
        posted += vector
    return dma, end, computed, posted, posted_before, stored, stored_before, store


def _moved_alike(run: Run, old: Times, new: Times) -> bool:
    """Whether a repetition has moved all that the run touches by the same amount.

    What it does not touch must be past already, so that it holds nothing up in any repetition.
    """
    by = new[1] - old[1]
    if new[2] - old[2] != by or new[7] != old[7]:
        return False
    if new[0] - old[0] != (by if run.loads or run.stores else 0):
        return False
    if run.posts:
        if new[3] - old[3] != by or new[4] - old[4] != by:
            return False
    elif old[3] > old[1] or new[3] != old[3]:
        return False
    if run.stores:
        return new[5] - old[5] == by == new[6] - old[6]
    return old[5] <= old[1] and new[5] == old[5]


def _shifted(run: Run, old: Times, new: Times, count: int) -> Times:
    """The times after `count` more repetitions of one that has moved everything alike."""
    by = (new[1] - old[1]) * count
    dma = by if run.loads or run.stores else 0
    posted, stored = by if run.posts else 0, by if run.stores else 0
    dma_then, array, array_before, vector, vector_before, store, store_before, pending = new
    return (
        *(dma_then + dma, array + by, array_before + by, vector + posted, vector_before + posted),
        *(store + stored, store_before + stored, pending),
    )
