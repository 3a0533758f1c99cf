"""Who works on many items of a kind: this process, others of this machine, a cluster. The answers are the same."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar, cast

from mnv3c.graph.errors import MissingError, UserError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class WorkersLostError(MissingError):
    """The workers are gone, or never came. What they had finished was handed out."""


class Workers(Protocol):
    """Who works on items."""

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT | UserError]]:
        """Each item and what the function makes of it, or the UserError that it raises, in the order they are done.

        The function and the items can be pickled, and calling it twice for an item changes nothing: an item whose
        worker died is worked on again. Items are taken as workers get free. Raises WorkersLostError, and whatever else
        the function raises. Closing the iterator leaves the rest undone.
        """
        ...


@dataclass(frozen=True)
class Here:
    """This process, one item after the other."""

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT | UserError]]:
        """As `Workers.map`; nothing is pickled."""
        for item in items:
            yield item, attempt(function, item)


HERE = Here()


@contextmanager
def work_kept_in(path: Path | None) -> Iterator[None]:
    """Say of workers that are lost in here that finished work is kept, if it is."""
    try:
        yield
    except WorkersLostError as error:
        if path is None or not path.exists():
            raise
        raise MissingError(f"{error}; finished work is kept in {path}, and the same command goes on there") from error


def attempt(function: Callable[[ItemT], ResultT], item: ItemT) -> ResultT | UserError:
    """What the function makes of the item, or its UserError."""
    try:
        return function(item)
    except UserError as error:
        return error


def attempt_pickled(function: bytes, item: bytes) -> Any:
    """`attempt` in a worker, which keeps the function that it has unpickled."""
    return attempt(_unpickled(function), pickle.loads(item))


class Pending(Protocol):
    """What becomes a result in another process."""

    def add_done_callback(self, fn: Callable[[Any], object], /) -> object:
        """Call `fn`, in any thread, once it is done."""
        ...


PendingT = TypeVar("PendingT", bound=Pending)


def as_done(
    submit: Callable[[ItemT], PendingT],
    items: Iterator[ItemT],
    most: int,
    unfinished: dict[int, ItemT],
    wait: Callable[[SimpleQueue[tuple[int, PendingT]]], tuple[int, PendingT]] = lambda queue: queue.get(),
) -> Iterator[tuple[ItemT, PendingT]]:
    """Submit items, at most so many at a time, and yield each as it is done.

    `unfinished` always holds those that were taken and not yet dealt with by who iterates.
    """
    queue: SimpleQueue[tuple[int, PendingT]] = SimpleQueue()
    numbers = count()
    while True:
        for item in islice(items, most - len(unfinished)):
            number = next(numbers)
            unfinished[number] = item
            submit(item).add_done_callback(partial(_announce, queue, number))
        if not unfinished:
            return
        number, pending = wait(queue)
        yield unfinished[number], pending
        del unfinished[number]


def _announce(queue: SimpleQueue[tuple[int, PendingT]], number: int, pending: PendingT) -> None:
    queue.put((number, pending))


@lru_cache(maxsize=2)
def _unpickled(function: bytes) -> Callable[[Any], Any]:
    return cast(Callable[[Any], Any], pickle.loads(function))
