"""A tuning run of a GPU's kernels through PoCL, from a graph to its result."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.opencl.target import OpenClTarget
from mnv3c.compiler.opencl.tune.device import PoclDevice
from mnv3c.compiler.opencl.tune.measure import PoclMeasure
from mnv3c.compiler.tune.session import working_folder
from mnv3c.compiler.tune.space import Space
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuner import Progress, Tuner, TuningResult
from mnv3c.graph.ir import Graph
from mnv3c.targets.base_device import Device

D = TypeVar("D", bound=Device)


def tune_on_pocl(
    graph: Graph,
    target: OpenClTarget[D],
    device: D,
    store: RecordStore,
    budget_s: float,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> TuningResult:
    """Tune a network's layers through PoCL for `budget_s` seconds, records going to `store`.

    Tiles and work-groups are searched; the records say PoCL and the CPU in `host` and `device_class`. Raises UserError
    for a graph that cannot be compiled, or not for this device; MissingError without PoCL, where the records cannot be
    written, where nothing could be measured, and without space.
    """
    store.require_writable()
    space = Space(graph, target, device, partial(target.tunable, device=device))
    here = PoclDevice.here(target, device)
    with working_folder() as folder:
        measure = PoclMeasure(target, device, FileCache.default(), folder)
        try:
            host = f"{measure.version()} on {here.cpu}"
            return Tuner(space.tasks, space.plan, here, store, measure, host, budget_s, progress=progress).run()
        finally:
            measure.close()
