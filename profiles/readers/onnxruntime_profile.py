"""Profiles that onnxruntime writes with `SessionOptions.enable_profiling`: JSON, an event for each node of each run.

A node's events over the runs are one record: a `KernelWork`, of which the op's name is the variant, where the shapes
tell the layer, else a `NodeWork`. Events named `model_run` are the whole network. Events last whole microseconds: a
node that takes less in some run is left out.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnv3c.graph.errors import UserError
from mnv3c.profiles.readers.onnxruntime_keys import Shape, event_key
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin
from mnv3c.profiles.readers.text_file import read_text
from mnv3c.profiles.record import Record, record_of
from mnv3c.profiles.statistics import summarise
from mnv3c.profiles.work import KernelWork, NetworkWork, NodeWork, Work

_SUFFIX = "_kernel_time"
_PROVIDER = "ExecutionProvider"
_MOST_US = 1 << 53  # whole numbers up to here are floats too


@dataclass(frozen=True)
class _Node:
    """A node and its place in the graph. `index` and `provider` are onnxruntime's own."""

    name: str
    op_name: str
    index: str
    provider: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtypes: frozenset[str]


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The nodes of a profile in the order of a run, then the network. Raises UserError naming file, event and field."""
    nodes, runs_us = _durations(path)
    told = Origin(runtime="onnxruntime", source=path.name)
    origin = stated.over(told)
    records = [_node_record(path, node, each_us, origin) for node, each_us in nodes.items() if min(each_us) > 0]
    if runs_us and min(runs_us) > 0:
        work = NetworkWork("_".join(path.stem.split()))
        records.append(_record(path, work, runs_us, origin.over(Origin(processor=_processor(nodes)))))
    if not records:
        raise UserError(f"{path}: has no event of a node that lasts a microsecond; run the model while profiling")
    return tuple(records)


def left_out(path: Path) -> Iterator[str]:
    """A line for each node that `read` leaves out, and why."""
    for node, each_us in _durations(path)[0].items():
        if min(each_us) == 0:
            yield f"{path}: {node.name}: took less than the microsecond that a profile resolves"


def _durations(path: Path) -> tuple[dict[_Node, list[int]], list[int]]:
    """Microseconds of each node, and of the runs, in order."""
    nodes: dict[_Node, list[int]] = {}
    runs: list[int] = []
    for number, event in enumerate(_events(path)):
        category, name = event.get("cat"), event.get("name")
        if category == "Node" and isinstance(name, str) and name.endswith(_SUFFIX):
            node = _node(path, number, name.removesuffix(_SUFFIX), event)
            nodes.setdefault(node, []).append(_duration(path, number, event))
        elif category == "Session" and name == "model_run":
            runs.append(_duration(path, number, event))
    return nodes, runs


def _events(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON: {error}") from None
    if not isinstance(document, list) or not all(isinstance(event, dict) for event in document):
        raise UserError(f"{path}: must be a list of events, as onnxruntime writes it")
    return document


def _node(path: Path, number: int, name: str, event: dict[str, Any]) -> _Node:
    args = event.get("args")
    if not isinstance(args, dict) or not isinstance(args.get("op_name"), str):
        raise UserError(f"{path}: event {number} ({name:.60}): args.op_name is missing")
    dtypes: set[str] = set()
    shapes = [_shapes(path, number, args.get(key, []), dtypes) for key in ("input_type_shape", "output_type_shape")]
    index, provider = str(args.get("node_index", "")), str(args.get("provider", ""))
    return _Node(name, args["op_name"], index, provider, shapes[0], shapes[1], frozenset(dtypes))


def _shapes(path: Path, number: int, listed: object, dtypes: set[str]) -> tuple[Shape, ...]:
    """Shapes listed as [{"float": [1, 3, 224, 224]}, ...]; adds their types."""
    found: list[Shape] = []
    for each in listed if isinstance(listed, list) else [listed]:
        pair = next(iter(each.items()), None) if isinstance(each, dict) and len(each) == 1 else None
        if pair is None or not isinstance(pair[1], list) or not all(isinstance(extent, int) for extent in pair[1]):
            wanted = "[{'float': [1, 3]}]"
            raise UserError(f"{path}: event {number}: shapes must be lists like {wanted}, not {each!r:.60}")
        dtypes.add(str(pair[0]))
        found.append(tuple(pair[1]))
    return tuple(found)


def _duration(path: Path, number: int, event: dict[str, Any]) -> int:
    value = event.get("dur")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST_US:
        raise UserError(f"{path}: event {number}: dur must be whole microseconds, not {value!r:.60}")
    return value


def _node_record(path: Path, node: _Node, each_us: Sequence[int], origin: Origin) -> Record:
    precision = "fp32" if "float" in node.dtypes else "fp16" if "float16" in node.dtypes else None
    told = Origin(processor=_processor([node]), precision=precision)
    tags = {name: text for name, text in (("node", node.name), ("node_index", node.index)) if text}
    return _record(path, _work(path, node), each_us, origin.over(told), tags)


def _work(path: Path, node: _Node) -> Work:
    key = event_key(node.op_name, node.inputs, node.outputs[0]) if node.outputs else None
    try:
        return KernelWork(key, node.op_name) if key is not None else NodeWork(node.op_name, node.name or node.op_name)
    except ValueError as error:
        raise UserError(f"{path}: node '{node.name:.60}': {error}") from None


def _processor(nodes: dict[_Node, list[int]] | list[_Node]) -> str | None:
    """`CPUExecutionProvider` is cpu; None where nodes ran on several."""
    providers = {node.provider.removesuffix(_PROVIDER).lower() for node in nodes}
    return next(iter(providers)) or None if len(providers) == 1 else None


def _record(
    path: Path, work: Work, each_us: Sequence[int], origin: Origin, tags: dict[str, str] | None = None
) -> Record:
    summary = summarise([value / 1e3 for value in each_us])
    values = {
        "work": work,
        "n": summary.n,
        "latency_ms": summary.median,
        "p10_ms": summary.p10,
        "p90_ms": summary.p90,
        "std_ms": summary.std,
        "ci_low_ms": summary.ci_low,
        "ci_high_ms": summary.ci_high,
        "flags": summary.flags,
        "tags": tags or {},
    }
    return record_of(origin.record_fields() | values, f"{path}: {work}")
