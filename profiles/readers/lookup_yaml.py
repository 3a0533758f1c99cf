"""Look-up tables in YAML, as ProxylessNAS and once-for-all publish them: `KEY: {count: 57, mean: 0.93, std: 0.01}`.

Times are in milliseconds. `lookup_keys` says what keys are made of.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mnv3c.graph.errors import UserError
from mnv3c.profiles.readers.lookup_keys import Scheme, parse_key
from mnv3c.profiles.readers.origin import Origin, named_origin
from mnv3c.profiles.readers.text_file import read_text
from mnv3c.profiles.record import Record, record_of

_VALUES = ("count", "mean", "std")
# libyaml's parser is ten times as fast, where PyYAML was built with it.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_Loader):  # type: ignore[misc, valid-type]
    """PyYAML keeps the last of two equal keys; a layer that is there twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' appears twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return dict(super().construct_mapping(node, deep=deep))


def read_lookup_table(path: Path, scheme: Scheme, stated: Origin) -> tuple[Record, ...]:
    """The records of a table whose keys follow `scheme`. Raises UserError naming file, key and value."""
    origin = stated.over(Origin(processor="cpu", runtime="tflite", precision="fp32", source=scheme, licence="MIT"))
    values = origin.over(named_origin(path)).record_fields()
    return tuple(_record(path, key, entry, scheme, values) for key, entry in _entries(path).items())


def _entries(path: Path) -> dict[str, object]:
    text = read_text(path)
    try:
        # _UniqueKeys is a SafeLoader: it builds plain Python values only.
        document = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {_one_line(error)}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is not a look-up table: a value cannot be read") from None
    if not isinstance(document, dict) or not document:
        raise UserError(f"{path}: must be a mapping of layers to {{{', '.join(_VALUES)}}}, and not empty")
    for key in document:
        if not isinstance(key, str):
            raise UserError(f"{path}: key {key!r:.60} must be text, such as Conv_1-input:7x7x160-output:7x7x960")
    return document


def _record(path: Path, key: str, entry: object, scheme: Scheme, values: dict[str, Any]) -> Record:
    origin = f"{path}: {key:.200}"
    if not isinstance(entry, dict) or "mean" not in entry or not entry.keys() <= set(_VALUES):
        raise UserError(f"{origin}: must be a mapping of {', '.join(_VALUES)} with a mean, not {entry!r:.60}")
    for name, value in entry.items():
        wanted = int if name == "count" else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise UserError(f"{origin}: {name} must be a number, not {value!r:.60}")
    try:
        work = parse_key(key, scheme)
    except ValueError as error:
        raise UserError(f"{origin}: {error}") from None
    measured = {"latency_ms": entry["mean"], "std_ms": entry.get("std"), "n": entry.get("count")}
    return record_of(values | measured | {"work": work, "statistic": "mean", "tags": {"key": key}}, origin)


def _one_line(error: yaml.YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    problem = (error.problem if isinstance(error, yaml.MarkedYAMLError) else None) or str(error)
    where = f"line {mark.line + 1}: " if mark else ""
    return f"{where}is not a look-up table: " + " ".join(problem.split())[:200]
