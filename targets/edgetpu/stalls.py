"""Why a layer took longer than the array worked: one word for each layer."""

from mnv3c.targets.edgetpu.candidate import Candidate, Work
from mnv3c.targets.edgetpu.emulation import Stall
from mnv3c.targets.edgetpu.planner import TimedStep
from mnv3c.targets.edgetpu.timeline import first_step

_NOTICED = 50  # a stall is worth a word from one fiftieth of the layer's cycles


def stall(step: TimedStep, took: Candidate, cycles: int) -> Stall:
    """The cause of most of a layer's cycles beyond the array's own work; of all of them where the array has none.

    launch       the layer's start
    weights      their transfer, which came too late
    activations  transfers of inputs and outputs
    barrier      the last store of the layer before; for a layer that reads everything before it writes, its own reading
    vector       the vector unit, with accumulators not freed or work that is its alone
    none         less than a fiftieth of its cycles
    fill         the first tile's input and the last one's post: nothing to overlap them with
    sram         operands: the SRAM feeds the array more slowly than it computes
    """
    job, launch_cycles = step.layers[0].job, step.launch_cycles
    if (cycles - took.array_cycles + took.sram_wait_cycles) * _NOTICED < cycles:
        return "none"
    if not took.array_cycles:
        moved = took.load_cycles + took.store_cycles
        own: Stall = "barrier" if job.reads_whole else "vector"
        return _largest({"launch": launch_cycles, own: took.post_cycles, "activations": moved})
    times = first_step(step.entry, step.program.first, launch_cycles)
    first = times[1] - took.array - step.entry.done - launch_cycles
    by_weights = took.weights > took.slab
    blocked = min(first, step.entry.pending) if took.slab else 0
    rest = cycles - took.array_cycles - launch_cycles - first
    last = min(rest, took.cycles(took.edge, took.edge_channels)[4])
    slower = _slower(took)
    causes: dict[Stall, int] = {
        "weights": first if by_weights else 0,
        "activations": 0,
        "vector": 0,
        "barrier": 0 if by_weights else blocked,
        "fill": last + (0 if by_weights else first - blocked),
        "launch": launch_cycles,
        "sram": took.sram_wait_cycles,
    }
    causes[slower] += rest - last
    return _largest(causes)


def _slower(took: Candidate) -> Stall:
    """What the array waits for between its tiles: the busier of vector unit and DMA, and of that its larger part."""
    if took.post_cycles > took.load_cycles + took.store_cycles:
        return "vector"
    beside = took.slab + took.beside + took.store
    return "weights" if took.weights > beside else "activations"


def _largest(causes: "dict[Stall, int]") -> Stall:
    """The largest cause; of equals the first; none where nothing was waited for."""
    name = max(causes, key=lambda cause: causes[cause])
    return name if causes[name] > 0 else "none"


def fused_stall(work: Work, cycles: int) -> Stall:
    """The cause in a layer that runs strip by strip with its neighbours: its busiest resource, if not the array."""
    if (cycles - work.array_cycles) * _NOTICED < cycles:
        return "none"
    moved = work.load_cycles + work.store_cycles
    return _largest({"fill": work.array_cycles, "vector": work.post_cycles, "activations": moved})
