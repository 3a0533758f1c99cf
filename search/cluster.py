"""What `--cluster` names: a Dask cluster on this machine, one that runs somewhere, or jobs of Slurm."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import chain, islice

from mnv3c.graph.errors import UserError
from mnv3c.search.processes import LocalProcesses
from mnv3c.search.workers import ItemT, ResultT, Workers

_FORMS = "local, local:N, tcp://HOST:PORT, slurm or slurm:JOBS"
_MOST_WORKERS = 1024


def open_workers(cluster: str | None = None, processes: int | None = None) -> AbstractContextManager[Workers]:
    """The workers that `--cluster` names; without it processes of this machine, by default as many as it has cores.

    A cluster is started or joined when there is work for it: `map` then raises MissingError where that fails. Raises
    UserError for what names none.
    """
    cores = len(os.sched_getaffinity(0))
    if cluster is None:
        return nullcontext(LocalProcesses(processes or cores))
    if processes is not None:
        raise UserError("--processes are those of this machine, without --cluster; --cluster local:N is N of Dask's")
    return _at_first_use(_opener(cluster, cores))


def _opener(cluster: str, cores: int) -> Callable[[], AbstractContextManager[Workers]]:
    from mnv3c.search.dask_clusters import joined_cluster, local_cluster, slurm_cluster

    started = re.fullmatch(r"(local|slurm)(?::([0-9]{1,4}))?", cluster)
    if started and (started[2] is None or 1 <= int(started[2]) <= _MOST_WORKERS):
        if started[1] == "local":
            return partial(local_cluster, int(started[2] or cores))
        return partial(slurm_cluster, int(started[2] or 1))
    address = re.fullmatch(r"(?:tcp|tls)://(?:[A-Za-z0-9_.-]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})", cluster)
    if address and 1 <= int(address[1]) <= 65535:
        return partial(joined_cluster, cluster)
    raise UserError(f"--cluster must be {_FORMS}, with N and JOBS up to {_MOST_WORKERS}, not '{cluster}'")


@contextmanager
def _at_first_use(opened: Callable[[], AbstractContextManager[Workers]]) -> Iterator[Workers]:
    with ExitStack() as stack:
        yield _AtFirstUse(stack, opened)


class _AtFirstUse:
    """Workers that are opened when there is a first item for them."""

    def __init__(self, stack: ExitStack, opened: Callable[[], AbstractContextManager[Workers]]) -> None:
        self._stack, self._opened = stack, opened
        self._workers: Workers | None = None

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT | UserError]]:
        left = iter(items)
        if not (first := tuple(islice(left, 1))):
            return
        if self._workers is None:
            self._workers = self._stack.enter_context(self._opened())
        yield from self._workers.map(function, chain(first, left))
