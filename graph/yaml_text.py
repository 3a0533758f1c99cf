"""YAML read strictly: plain data only, nothing that could grow or hide."""

from pathlib import Path
from typing import Any

import yaml

from mnv3c.graph.errors import UserError

MAX_BYTES = 32 * 2**20
MAX_DEPTH = 8


def read_yaml(path: Path) -> object:
    """The single document of a YAML file: mappings, sequences, strings, numbers, truth values, null.

    Raises UserError, naming the file and the line, for a file that cannot be read, is over 32 MiB, is not UTF-8 or not
    YAML, or has anchors, aliases, tags, a key twice, a key that is no string, or over 8 levels.
    """
    text = _read(path)
    # The C loader is ten times faster, and absent where PyYAML was built without libyaml.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(path, yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {_one_line(error)}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        # What PyYAML lets through of a scalar that looks like a date or a number and is none.
        raise UserError(f"{path}: not valid YAML: {str(error)[:200]}") from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: is over {MAX_BYTES} bytes, which is allowed at most")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from None


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


def _check_events(path: Path, events: Any) -> None:
    """Walk the parse events; `open_keys` holds one entry per open collection: the keys so far, or None."""
    open_keys: list[set[str] | None] = []
    awaiting_key: list[bool] = []
    for event in events:
        where = f"{path}: line {event.start_mark.line + 1}"
        if isinstance(event, yaml.CollectionEndEvent):
            open_keys.pop()
            awaiting_key.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        if event.anchor is not None:
            raise UserError(f"{where}: anchors and aliases are not allowed ('{event.anchor}')")
        if getattr(event, "tag", None) is not None:
            raise UserError(f"{where}: tags are not allowed ('{event.tag}')")  # type: ignore[attr-defined]
        if open_keys and open_keys[-1] is not None:
            if awaiting_key[-1]:
                _add_key(where, event, open_keys[-1])
            awaiting_key[-1] = not awaiting_key[-1]
        if isinstance(event, yaml.CollectionStartEvent):
            open_keys.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
            awaiting_key.append(True)
            if len(open_keys) > MAX_DEPTH:
                raise UserError(f"{where}: nested over {MAX_DEPTH} levels, which are allowed at most")


def _add_key(where: str, event: yaml.NodeEvent, keys: set[str]) -> None:
    if not isinstance(event, yaml.ScalarEvent):
        raise UserError(f"{where}: keys must be strings")
    key = str(event.value)
    if key in keys or key == "<<":
        raise UserError(f"{where}: key {key[:80]!r} {'is not allowed' if key == '<<' else 'is there twice'}")
    keys.add(key)
