"""Isolated workers side by side, one for each processor, for compilers that may crash or never end."""

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from mnv3c.compiler.tune.worker import Handler, IsolatedWorker, RequestFailedError, WorkerDiedError

_MOST_WORKERS = 8
Name = TypeVar("Name")


class WorkerPool:
    """Builds things, each failing alone and after `limit_s` at most; `close` ends the workers."""

    def __init__(self, make_handler: Callable[[], Handler], limit_s: float) -> None:
        count = min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
        self._workers, self._limit_s = [IsolatedWorker(make_handler) for _ in range(count)], limit_s

    def close(self) -> None:
        """End the processes; the next request starts others."""
        for worker in self._workers:
            worker.close()

    def map(self, requests: Mapping[Name, object], deadline_s: float) -> dict[Name, Any]:
        """The answer to each request, or, as a str, why there is none.

        Requests not begun by `deadline_s` (monotonic) are left out. Raises MissingError as `IsolatedWorker.call` does.
        """
        free: SimpleQueue[IsolatedWorker] = SimpleQueue()
        for worker in self._workers:
            free.put(worker)
        threads = ThreadPoolExecutor(len(self._workers))
        try:
            answers = threads.map(lambda request: self._answer(request, free, deadline_s), requests.values())
            return {name: answer for name, answer in zip(requests, answers, strict=True) if answer is not None}
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            self.close()
            raise
        finally:
            threads.shutdown()

    def _answer(self, request: object, free: "SimpleQueue[IsolatedWorker]", deadline_s: float) -> Any:
        if time.monotonic() >= deadline_s:
            return None
        worker = free.get()
        try:
            return worker.call(request, self._limit_s)
        except RequestFailedError as failure:
            return str(failure)
        except WorkerDiedError as death:
            return f"the compiler died: {death}"
        finally:
            free.put(worker)
