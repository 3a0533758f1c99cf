"""CSV files with a header, as the readers see them: rows whose cells are asked for by column and kind."""

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from mnv3c.graph.errors import UserError
from mnv3c.profiles.work import NetworkWork

# How tables say that a cell has no value.
EMPTY = frozenset({"", "-"})
_TRUTHS = {"1": True, "0": False, "1.0": True, "0.0": False, "yes": True, "no": False, "true": True, "false": False}


@dataclass(frozen=True)
class Columns:
    """What a format's header may hold: `ignored` columns say nothing that the others do not."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def fit(self, names: Collection[str]) -> bool:
        """Whether this is the format's header."""
        return set(self.required) <= set(names)


@dataclass(frozen=True)
class Row:
    """One row. Every question raises UserError naming file, line, column, and what is allowed."""

    path: Path
    line: int
    cells: Mapping[str, str]

    @property
    def origin(self) -> str:
        """FILE:LINE."""
        return f"{self.path}:{self.line}"

    def error(self, column: str, message: str) -> UserError:
        """The error that says what is wrong with a cell."""
        return UserError(f"{self.origin}: column '{column}' {message}, not {self.cells.get(column, '')!r:.60}")

    def text(self, column: str) -> str | None:
        """The cell; None where it is empty or missing."""
        value = self.cells.get(column, "")
        return None if value in EMPTY else value

    def word(self, column: str) -> str:
        """The cell, which must not be empty."""
        value = self.text(column)
        if value is None:
            raise self.error(column, "must not be empty")
        return value

    def integer(self, column: str, *, least: int = 1) -> int:
        """A whole number of at least `least`."""
        value = self.optional_integer(column, least=least)
        if value is None:
            raise self.error(column, f"must be a whole number of at least {least}")
        return value

    def optional_integer(self, column: str, *, least: int = 1) -> int | None:
        """As `integer`; None where the cell is empty."""
        text = self.text(column)
        if text is None:
            return None
        # "12.0" is how programs write a column of whole numbers with gaps.
        digits = text.removesuffix(".0")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 16 and int(digits) >= least):
            raise self.error(column, f"must be a whole number of at least {least}")
        return int(digits)

    def number(self, column: str) -> float:
        """A finite number above 0, such as a latency."""
        value = self.optional_number(column)
        if value is None or value <= 0:
            raise self.error(column, "must be a number above 0")
        return value

    def optional_number(self, column: str) -> float | None:
        """A finite number, 0 or above; None where the cell is empty."""
        text = self.text(column)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not (isfinite(value) and value >= 0):
            raise self.error(column, "must be a number, 0 or above")
        return value

    def network(self, column: str) -> NetworkWork:
        """The network of this name, its spaces written as underscores."""
        try:
            return NetworkWork("_".join(self.word(column).split()))
        except ValueError:
            raise self.error(column, "must be printable") from None

    def truth(self, column: str) -> bool | None:
        """1 or 0; None where the cell is empty."""
        text = self.text(column)
        if text is None:
            return None
        value = _TRUTHS.get(text.lower())
        if value is None:
            raise self.error(column, "must be 0 or 1")
        return value


def header(text: str) -> tuple[str, ...]:
    """The column names in a file's first line; none where it is no line of a table."""
    try:
        return tuple(name.strip() for name in next(csv.reader([text]), []))
    except csv.Error:
        return ()


def read_rows(path: Path, columns: Columns) -> Iterator[Row]:
    """The rows under the header. Raises UserError for a file that is no such table, and where it has no rows."""
    rows = raw_rows(path)
    _, names = next(rows)
    _check_header(path, names, columns)
    row = None
    for line, cells in rows:
        row = Row(path, line, named_cells(path, line, names, map(str.strip, cells)))
        yield row
    if row is None:
        raise UserError(f"{path}: has a header and no rows")


def named_cells(path: Path, line: int, names: Sequence[str], cells: Iterable[str]) -> dict[str, str]:
    """The cells of a row by column. Raises UserError where there are more or fewer of them than columns."""
    given = tuple(cells)
    if len(given) != len(names):
        raise UserError(f"{path}:{line}: has {len(given)} cells, and the header has {len(names)} columns")
    return dict(zip(names, given, strict=True))


def raw_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of the header and of each row that is not blank. Raises UserError for a file that is no CSV."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is not a regular file")
    found = False
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if any(cells):
                    yield reader.line_num, cells if found else [name.strip() for name in cells]
                    found = True
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except csv.Error as error:
        raise UserError(f"{path}: is not a CSV table: {error}") from None
    if not found:
        raise UserError(f"{path}: is empty")


def _check_header(path: Path, names: Sequence[str], columns: Columns) -> None:
    for name in columns.required:
        if name not in names:
            raise UserError(f"{path}:1: column '{name}' is missing; needed are {', '.join(columns.required)}")
    known = {*columns.required, *columns.optional, *columns.ignored}
    for name in names:
        if name not in known:
            also = ", ".join((*columns.optional, *columns.ignored)) or "no others"
            raise UserError(f"{path}:1: column {name!r:.60} is unknown; allowed beside the needed ones are {also}")
        if names.count(name) > 1:
            raise UserError(f"{path}:1: column {name!r:.60} appears twice")
