"""The accuracy of a network, as a search asks for it: from a function of the user's, a CSV file, or training."""

import csv
import importlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph

Stage = Literal["start", "proposal", "final"]


@dataclass(frozen=True)
class Candidate:
    """A network to be judged.

    `subnet` is its name in the search (`Architecture.widths`, or `subnet_text`). `parent` is the network with weights
    that it was made from, None at the start. `stage` says how much work its accuracy is worth, `seed` makes it
    repeatable.
    """

    subnet: str
    graph: Graph
    parent: Graph | None
    stage: Stage
    seed: int


@dataclass(frozen=True)
class Judged:
    """An accuracy in 0..1, and the network it belongs to: with weights, where there are any."""

    accuracy: float
    graph: Graph


class Accuracy(Protocol):
    """Judges candidates. A search that is resumed must have one of the same identity."""

    @property
    def identity(self) -> str: ...

    def judge(self, candidate: Candidate) -> Judged: ...


@dataclass(frozen=True)
class FunctionAccuracy:
    """A function of the graph (without weights) that returns its accuracy."""

    name: str
    function: Callable[[Graph], float]

    @classmethod
    def load(cls, name: str) -> "FunctionAccuracy":
        """From MODULE:FUNCTION; the module is looked for in the current folder too.

        Raises UserError where there is no such function.
        """
        return cls(name, user_function(name, "accuracy"))

    @property
    def identity(self) -> str:
        """The function's name: what it does is not known."""
        return f"function {self.name}"

    def judge(self, candidate: Candidate) -> Judged:
        """Raises UserError where the function fails, or returns no number in 0..1."""
        where = f"accuracy '{self.name}'"
        try:
            value = self.function(candidate.graph)
        except Exception as error:
            raise UserError(f"{where} fails for '{candidate.subnet}': {type(error).__name__}: {error}") from error
        return Judged(_checked(where, value), candidate.graph)


@dataclass(frozen=True)
class TableAccuracy:
    """Accuracies of a CSV file with the columns `subnet` and `accuracy` (0..1)."""

    path: Path
    known: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> "TableAccuracy":
        """Raises UserError, naming the file and the line, for what is no such table."""
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if not {"subnet", "accuracy"} <= set(reader.fieldnames or ()):
                    raise UserError(f"{path}: needs the columns subnet and accuracy, has {reader.fieldnames or 'none'}")
                known: dict[str, float] = {}
                for row in reader:
                    where = f"{path}: line {reader.line_num}"
                    if row["subnet"] in known:
                        raise UserError(f"{where}: subnet '{row['subnet']}' is there twice")
                    known[row["subnet"]] = _number(where, row["accuracy"])
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: is no CSV: {error}") from None
        return cls(path, known)

    @property
    def identity(self) -> str:
        """A digest of all rows."""
        return f"table {sha256(repr(sorted(self.known.items())).encode()).hexdigest()[:12]}"

    def judge(self, candidate: Candidate) -> Judged:
        """Raises UserError for a subnet that is not in the file."""
        if candidate.subnet not in self.known:
            raise UserError(f"{self.path}: has no accuracy for subnet '{candidate.subnet}'")
        return Judged(self.known[candidate.subnet], candidate.graph)


def user_function(name: str, what: str) -> Callable[..., Any]:
    """The function of MODULE:FUNCTION; the module is looked for in the current folder too.

    Raises UserError, naming `what` it is for, where there is no such function.
    """
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise UserError(f"{what} is MODULE:FUNCTION, not '{name}'")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"{what} '{name}': module '{module_name}' cannot be imported: {error}") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(f"{what} '{name}': module '{module_name}' has no function '{function_name}'")
    return cast(Callable[..., Any], function)


def _number(where: str, text: str | None) -> float:
    try:
        return _checked(where, float(text or ""))
    except ValueError:
        raise UserError(f"{where}: accuracy must be a number in 0..1, not '{text or ''}'") from None


def _checked(where: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise UserError(f"{where}: accuracy must be a number in 0..1, not {value!r}")
    return number
