"""A tuning run by estimates, from a graph to its result: no hardware of the device is needed."""

from collections.abc import Callable

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.tune.session import host_title, working_folder
from mnv3c.compiler.tune.space import Space
from mnv3c.compiler.tune.static_measure import StaticMeasure
from mnv3c.compiler.tune.static_tuner import StaticProgress, StaticResult, StaticTuner
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.graph.ir import Graph
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target


def tune_by_estimate(
    graph: Graph,
    device: CpuDevice,
    store: RecordStore,
    budget_s: float,
    progress: Callable[[StaticProgress], None] = lambda progress: None,
    message: Callable[[str], None] = lambda text: None,
) -> StaticResult:
    """Tune a network's layers for a device by llvm-mca for `budget_s` seconds, records going to `store`.

    `message` gets slow steps, and why executions cannot be counted where they cannot. Raises UserError for a graph that
    cannot be compiled and for a device that is not arm64; MissingError without LLVM's tools, where the records cannot
    be written, where nothing could be estimated, and without space.
    """
    target = load_target(device.target)
    with working_folder() as folder:
        measure = StaticMeasure(target, device, FileCache.default(), folder, message)
        try:
            store.require_writable()
            if measure.uncounted:
                message(f"executions cannot be counted, only innermost loops are estimated: {measure.uncounted}")
            space = Space(graph, target, device)
            return StaticTuner(space.tasks, space.plan, device, store, measure, host_title(), budget_s, progress).run()
        finally:
            measure.close()
