"""A tuning run from a graph to its result: the processes and the folder that it needs, and their end."""

import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.tune.host_measure import HostMeasure, require_host
from mnv3c.compiler.tune.space import Space
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuner import Progress, Tuner, TuningResult
from mnv3c.graph.errors import MissingError
from mnv3c.graph.ir import Graph
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import detect_host


def tune_graph(
    graph: Graph,
    device: CpuDevice,
    store: RecordStore,
    budget_s: float,
    threads: int = 1,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> TuningResult:
    """Tune a network's layers on this machine for `budget_s` seconds, records going to `store`.

    Raises UserError for a graph that cannot be compiled; MissingError where this machine does not run the target,
    where the records cannot be written, where nothing could be measured, and without space.
    """
    target = load_target(device.target)
    require_host(target)
    store.require_writable()
    space = Space(graph, target, device)
    with working_folder() as folder:
        measure = HostMeasure(target, device, FileCache.default(), folder, threads)
        try:
            tuner = Tuner(space.tasks, space.plan, device, store, measure, host_title(), budget_s, threads, progress)
            return tuner.run()
        finally:
            measure.close()


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder for what a run needs meanwhile; workers that are still ending may hold on to files in it."""
    with tempfile.TemporaryDirectory(prefix="mnv3c-tune-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def host_title() -> str:
    """What this machine is, for records."""
    try:
        return detect_host().processor_name
    except MissingError:
        return f"{platform.machine()} {platform.system()}"
