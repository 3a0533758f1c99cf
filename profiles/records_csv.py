"""Records as a CSV table and back, without loss: a column per field, and one named `tag.NAME` per tag.

An empty cell means that nothing is known. Flags are joined by spaces, numbers are Python's shortest exact form.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mnv3c.graph.errors import UserError
from mnv3c.profiles.jsonl_store import write_lines
from mnv3c.profiles.readers.csv_table import named_cells, raw_rows
from mnv3c.profiles.record import Record, record_of

FIELDS = tuple(name for name in Record.model_fields if name != "tags")
_TAG = "tag."
_REQUIRED = ("version", *(name for name, field in Record.model_fields.items() if field.is_required()))
_INTEGERS = ("version", "threads", "n")


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """Write a table of records, whole or not at all. Raises MissingError where the disk refuses."""
    write_lines(path, [csv_text(records).encode()])


def csv_text(records: Iterable[Record]) -> str:
    """The table. Columns are the fields in order of declaration, then the tags by name."""
    rows = tuple(records)
    tags = sorted({tag for record in rows for tag in record.tags})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIELDS, *(_TAG + tag for tag in tags)])
    for record in rows:
        cells = [_cell(getattr(record, name)) for name in FIELDS]
        writer.writerow([*cells, *(record.tags.get(tag, "") for tag in tags)])
    return text.getvalue()


def read_csv(path: Path) -> tuple[Record, ...]:
    """The records of such a table; columns may come in any order. Raises UserError naming file, line and column."""
    rows = raw_rows(path)
    _, names = next(rows)
    _check_header(path, names)
    records = []
    for line, cells in rows:
        origin = f"{path}:{line}"
        records.append(record_of(_values(named_cells(path, line, names, cells), origin), origin))
    return tuple(records)


def is_header(names: Iterable[str]) -> bool:
    """Whether these are the columns of such a table."""
    return {"version", "work", "latency_ms"} <= set(names)


def _check_header(path: Path, names: list[str]) -> None:
    for name in _REQUIRED:
        if name not in names:
            raise UserError(f"{path}:1: column '{name}' is missing; needed are {', '.join(_REQUIRED)}")
    for name in names:
        if name not in FIELDS and not name.startswith(_TAG):
            raise UserError(f"{path}:1: column {name!r:.60} is unknown; allowed are {', '.join(FIELDS)} and {_TAG}NAME")
        if names.count(name) > 1:
            raise UserError(f"{path}:1: column {name!r:.60} appears twice")


def _values(cells: Mapping[str, str], origin: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    tags: dict[str, str] = {}
    for name, cell in cells.items():
        if not cell:
            continue
        if name.startswith(_TAG):
            tags[name.removeprefix(_TAG)] = cell
        elif name == "flags":
            values[name] = tuple(cell.split(" "))
        elif name in _INTEGERS or name.endswith(("_ms", "_hz")):
            values[name] = _number(name, cell, origin)
        else:
            values[name] = cell
    return values | {"tags": tags}


def _number(name: str, cell: str, origin: str) -> float:
    try:
        return int(cell) if name in _INTEGERS else float(cell)
    except ValueError:
        raise UserError(f"{origin}: column '{name}' must be a number, not {cell!r:.60}") from None


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    return " ".join(value) if isinstance(value, tuple) else str(value)
