"""Workers of a Dask cluster. What it runs is this package's own code: its workers must have the same."""

import hashlib
import os
import pickle
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import mnv3c
from mnv3c.graph.errors import UserError
from mnv3c.search.workers import ItemT, ResultT, WorkersLostError, as_done, attempt_pickled

if TYPE_CHECKING:
    from distributed import Client, Future

# An item is tried again where its worker raises what is no UserError; where a worker dies, Dask's `allowed-failures`.
_RETRIES = 2
_ITEMS_PER_THREAD = 4
_LEAST_ITEMS = 64
_LOOK_EVERY_S = 2.0
_WITHOUT_WORKERS_S = 60.0
INSTALL = "install the same on all machines"


@dataclass(frozen=True)
class DaskWorkers:
    """The workers of a scheduler that `client` is connected to, called `name` in messages.

    They have `threads` together, if that is known. It is an error when for `patience_s` seconds there are none.
    """

    client: "Client"
    name: str
    threads: int = 0
    patience_s: float = _WITHOUT_WORKERS_S

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT | UserError]]:
        """As `Workers.map`; a worker of another mnv3c, which may answer otherwise, counts as lost."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        self._require_scheduler()
        # A task, not scattered data, which would be lost with the worker that has it.
        shared = self.client.submit(bytes, pickle.dumps(function), pure=False)

        def submit(item: ItemT) -> "Future[Any]":
            self._require_scheduler()
            # As bytes, in which Dask does not look for tasks of its own.
            return self.client.submit(
                _attempt_there, shared, code_digest(), pickle.dumps(item), pure=False, retries=_RETRIES
            )

        most = max(_LEAST_ITEMS, _ITEMS_PER_THREAD * self.threads)
        try:
            for item, future in as_done(submit, iter(items), most, {}, self._wait):
                yield item, future.result()
        except (CancelledError, CommClosedError) as error:
            raise self._gone() from error
        except KilledWorker as error:
            message = f"{self.name}: several workers died of one item; have they too little memory, or another mnv3c?"
            raise WorkersLostError(message) from error

    def _wait(self, queue: "SimpleQueue[tuple[int, Future[Any]]]") -> "tuple[int, Future[Any]]":
        deserted_s: float | None = None
        while True:
            try:
                return queue.get(timeout=_LOOK_EVERY_S)
            except Empty:
                pass
            self._require_scheduler()
            if self.client.scheduler_info()["workers"]:
                deserted_s = None
            elif deserted_s is None:
                deserted_s = time.monotonic()
            elif time.monotonic() - deserted_s > self.patience_s:
                raise WorkersLostError(f"{self.name}: has had no worker for {self.patience_s:.0f} s")

    def _require_scheduler(self) -> None:
        if self.client.status != "running":
            raise self._gone()

    def _gone(self) -> WorkersLostError:
        return WorkersLostError(f"{self.name}: the scheduler went away")


@lru_cache
def code_digest() -> str:
    """SHA-256 over the Python sources of this package, by which a worker knows that it has the same."""
    digest = hashlib.sha256()
    top = Path(mnv3c.__file__).parent
    for folder, _, names in sorted(os.walk(top, followlinks=True)):
        for name in sorted(name for name in names if name.endswith(".py")):
            path = Path(folder, name)
            digest.update(str(path.relative_to(top)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _attempt_there(function: bytes, digest: str, item: bytes) -> Any:
    if code_digest() != digest:
        raise WorkersLostError(f"the worker on {platform.node()} has another mnv3c; {INSTALL}")
    return attempt_pickled(function, item)
