"""Op profiles that LiteRT's `benchmark_model --enable_op_profiling=true` prints, as text or with commas.

Read are the table `Run Order` of the regular runs (not that of the initialisation), by the names of its columns

    [node type] [start] [first] [avg ms] [%] [cdf%] [mem KB] [times called] [Name]
    node type, start, first, avg_ms, %, cdf%, mem KB, times called, name

of which newer versions leave `start` out, and from the lines around it `count=`, the number of runs, `Num threads:`,
`Graph:`, and `Inference (avg):`, the whole network in microseconds. Where a delegate tells its own ops (`Delegate
internal:`), they stand for the delegate's node. Such a profile tells no shapes: a row becomes a `NodeWork`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mnv3c.graph.errors import UserError
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin
from mnv3c.profiles.readers.text_file import read_text
from mnv3c.profiles.record import Record, record_of
from mnv3c.profiles.work import NetworkWork, NodeWork

_TITLE = re.compile(r"=+ (.+?) =+")
_HEADER = re.compile(r"\[?node type\]?\s*[\t,]", re.IGNORECASE)
_COUNT = re.compile(r"\bcount=(\d{1,15})\b")
_THREADS = re.compile(r"[Nn]um threads:\s*\[?(\d{1,9})\b")
_GRAPH = re.compile(r"\bGraph: *\[?([^\]\n]+)")
_INFERENCE = re.compile(r"Inference \(avg\):\s*([0-9.eE+]+)")
_COLUMNS = ("node type", "avg ms", "times called", "name")


@dataclass(frozen=True)
class _Line:
    """A row of a profile: the op, its average in milliseconds, and how often a run calls it."""

    number: int
    op: str
    name: str
    average_ms: str
    times_called: str


def is_profile(text: str) -> bool:
    """Whether a text holds such a profile."""
    return "Run Order" in text and any(_HEADER.match(line.strip()) for line in text.splitlines())


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The nodes of a profile in the order of a run, then the network if its time is told.

    Raises UserError naming file and line.
    """
    text = read_text(path)
    lines = text.splitlines()
    tables = [table for table in _tables(path, lines) if table]
    if not tables:
        raise UserError(f"{path}: has no table 'Run Order' of regular runs with columns {', '.join(_COLUMNS)}")
    threads = _THREADS.search(text)
    told = Origin(runtime="litert", source=path.name, threads=int(threads[1]) if threads else None)
    origin = stated.over(told)
    nodes = _without_delegates(tables)
    records = [_record(path, node, origin, _runs(lines)) for node in nodes]
    return (*records, *_network(path, text, origin))


def _tables(path: Path, lines: list[str]) -> Iterator[list[_Line]]:
    """The tables of the regular runs, in order: the graph's, then each delegate's."""
    start = max((at for at, line in enumerate(lines) if "Regular Benchmark Runs" in line), default=0)
    columns: dict[str, int] | None = None
    separator, inside = "\t", False
    table: list[_Line] = []
    for number, line in enumerate(lines[start:], start=start + 1):
        title = _TITLE.fullmatch(line.strip())
        if title or not line.strip():
            yield table
            table, columns, inside = [], None, bool(title and title[1] == "Run Order")
        elif inside and columns is None and _HEADER.match(line.strip()):
            separator = "\t" if "\t" in line.strip() else ","
            columns = _column_places(path, number, line, separator)
        elif inside and columns is not None:
            table.append(_parsed(path, number, line, separator, columns))
    yield table


def _column_places(path: Path, number: int, line: str, separator: str) -> dict[str, int]:
    names = [name.strip().strip("[]").lower().replace("_", " ") for name in line.strip().split(separator)]
    for name in _COLUMNS:
        if name not in names:
            raise UserError(f"{path}:{number}: column '{name}' is missing; needed are {', '.join(_COLUMNS)}")
    return {name: names.index(name) for name in _COLUMNS}


def _parsed(path: Path, number: int, line: str, separator: str, columns: dict[str, int]) -> _Line:
    # The name is the last column; it may hold the separator.
    cells = [cell.strip() for cell in line.strip().split(separator, columns["name"])]
    if len(cells) <= columns["name"]:
        raise UserError(f"{path}:{number}: has {len(cells)} columns, not {columns['name'] + 1}")
    name = " ".join(cells[columns["name"]].split())
    average, called = cells[columns["avg ms"]], cells[columns["times called"]]
    for column, value in (("avg ms", average), ("times called", called)):
        if re.fullmatch(r"\d+(\.\d+)?([eE][+-]?\d+)?", value) is None:
            raise UserError(f"{path}:{number}: column '{column}' must be a number, not {value!r:.60}")
    return _Line(number, "_".join(cells[columns["node type"]].split()), name, average, called)


def _without_delegates(tables: list[list[_Line]]) -> list[_Line]:
    """The graph's nodes; a delegate's ops, if it tells them, instead of its node."""
    graph, *delegates = tables
    if not delegates:
        return graph
    return [node for node in graph if "delegate" not in node.op.lower()] + [node for each in delegates for node in each]


def _runs(lines: list[str]) -> int | None:
    counts = [int(match[1]) for line in lines if "Timings (microseconds)" in line and (match := _COUNT.search(line))]
    return counts[-1] if counts and counts[-1] else None


def _record(path: Path, node: _Line, origin: Origin, runs: int | None) -> Record:
    where = f"{path}:{node.number}"
    try:
        work = NodeWork(node.op, node.name or node.op)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    values = {"work": work, "latency_ms": float(node.average_ms), "statistic": "mean", "n": runs}
    tags = {} if float(node.times_called) == 1 else {"times_called": node.times_called}
    return record_of(origin.record_fields() | values | {"tags": tags}, where)


def _network(path: Path, text: str, origin: Origin) -> Iterator[Record]:
    inference, graph = _INFERENCE.search(text), _GRAPH.search(text)
    if inference is None:
        return
    name = PurePosixPath(graph[1]).name if graph else path.stem
    try:
        values = {
            "work": NetworkWork("_".join(name.split())),
            "latency_ms": float(inference[1]) / 1e3,
            "statistic": "mean",
        }
    except ValueError as error:
        raise UserError(f"{path}: Inference (avg): {error}") from None
    yield record_of(origin.record_fields() | values, f"{path}: Inference (avg)")
