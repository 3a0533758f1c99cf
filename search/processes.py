"""Processes of this machine as workers."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context, parent_process
from typing import Any

from mnv3c.graph.errors import UserError
from mnv3c.search.workers import ItemT, ResultT, WorkersLostError, as_done, attempt, attempt_pickled

# Work that is done sooner is not worth processes, which take about as long to start.
_WORTH_PROCESSES_S = 1.0
# Items at a time: one that is worked on, and some that wait, for each process.
_ITEMS_PER_PROCESS = 4
_MOST_DEATHS = 3


@dataclass(frozen=True)
class LocalProcesses:
    """At most so many processes, started once the work proves worth them; those that die are replaced."""

    count: int
    worth_s: float = _WORTH_PROCESSES_S

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT | UserError]]:
        """As `Workers.map`; the first items are worked on in this process."""
        left = iter(items)
        begin_s = time.monotonic()
        for item in left:
            yield item, attempt(function, item)
            if self.count > 1 and time.monotonic() - begin_s > self.worth_s:
                yield from self._in_processes(pickle.dumps(function), left)

    def _in_processes(self, function: bytes, items: Iterator[ItemT]) -> Iterator[tuple[ItemT, Any]]:
        for _ in range(1 + _MOST_DEATHS):
            unfinished: dict[int, ItemT] = {}
            try:
                with _pool(self.count) as pool:
                    submit = _submitter(pool, function)
                    for item, future in as_done(submit, items, _ITEMS_PER_PROCESS * self.count, unfinished):
                        yield item, future.result()
                return
            except BrokenProcessPool:
                items = chain(unfinished.values(), items)
        raise WorkersLostError(f"{1 + _MOST_DEATHS} times a process was killed; is there too little memory?")


def _submitter(pool: ProcessPoolExecutor, function: bytes) -> Callable[[Any], Future[Any]]:
    # An item that the pool cannot pickle would hang it.
    return lambda item: pool.submit(attempt_pickled, function, pickle.dumps(item))


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    # Forking a process whose progress bar runs in a thread may hang the child.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_follow_parent)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: object) -> None:
    parent.join()  # type: ignore[attr-defined]
    os._exit(1)
