"""A MetaSchedule run from a graph to the comparison: the processes and the folder that it needs, and their end."""

from collections.abc import Callable

from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.tune.host_measure import HostMeasure, require_host
from mnv3c.compiler.tune.metaschedule.kernels import with_plain_kernels
from mnv3c.compiler.tune.metaschedule.search import make_searcher
from mnv3c.compiler.tune.metaschedule.strategy import Comparison, MetaScheduleTuner
from mnv3c.compiler.tune.metaschedule.traces import TraceFolder
from mnv3c.compiler.tune.session import host_title, working_folder
from mnv3c.compiler.tune.space import Space
from mnv3c.compiler.tune.store import RecordStore
from mnv3c.compiler.tune.tuner import Progress
from mnv3c.compiler.tune.worker import IsolatedWorker
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.target import LayerWork


def compare_graph(
    graph: Graph,
    device: CpuDevice,
    store: RecordStore,
    budget_s: float,
    threads: int = 1,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Comparison:
    """Search schedules for a network's layers on this machine for `budget_s` seconds, records going to `store`.

    The traces go to a folder beside it. Raises UserError for a graph that cannot be compiled, and where none of its
    layers can be searched; MissingError where this machine does not run the target, where no schedule could be
    measured, and without space.
    """
    target = load_target(device.target)
    require_host(target)
    extended = with_plain_kernels(target, device)
    space = Space(graph, extended, device)
    works = {task.key: task.work for task in space.tasks if isinstance(task.work, LayerWork)}
    found = {key: target.traced(work, device) for key, work in works.items()}
    plain = {key: computation for key, computation in found.items() if computation is not None}
    if not plain:
        raise UserError(f"--strategy: metaschedule can search none of the layers of '{graph.name}'")
    tasks = [task for task in space.tasks if task.key in plain]
    worker = IsolatedWorker(make_searcher)
    with working_folder() as folder:
        measure = HostMeasure(extended, device, FileCache.default(), folder, threads)
        try:
            return MetaScheduleTuner(
                tasks=tasks,
                plain=plain,
                counts=space.plan(lambda work: False),
                device=device,
                llvm_target=target.llvm_target(device),
                store=store,
                traces=TraceFolder.beside(store.path),
                search=worker.call,
                measure=measure,
                host=host_title(),
                budget_s=budget_s,
                threads=threads,
                progress=progress,
            ).run()
        finally:
            worker.close()
            measure.close()
