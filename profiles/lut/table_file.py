"""Tables as JSON, the form from which all others are exported: one entry a line."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError, model_validator

from mnv3c.graph.errors import UserError
from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.block import Block
from mnv3c.profiles.lut.table import PROVENANCES, Additivity, Entry, Provenance, Table
from mnv3c.profiles.profile import Identity
from mnv3c.profiles.readers.text_file import read_text
from mnv3c.profiles.work import LayerWork, parse_work

_FORMAT, _VERSION = "mnv3c-lut", 1
_Time = Annotated[FiniteFloat, Field(ge=0)]
_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Text = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _EntryFile(_Checked):
    work: str
    p50_ms: _Time
    low_ms: _Time
    high_ms: _Time
    provenance: Provenance
    resolutions: tuple[PositiveInt, ...]
    in_range: bool = True
    n: PositiveInt | None = None
    p90_ms: _Time | None = None
    independent_below_ms: _Time | None = None
    independent_above_ms: _Time | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low_ms <= self.p50_ms <= self.high_ms:
            raise ValueError("low_ms, p50_ms and high_ms are not in ascending order")
        return self

    def entry(self) -> Entry:
        unit = parse_work(self.work)
        if not isinstance(unit, Block | LayerWork):
            raise UserError(f"'{self.work:.100}' is neither a block nor a layer")
        return Entry(
            unit,
            self.p50_ms,
            self.low_ms,
            self.high_ms,
            self.provenance,
            self.resolutions,
            self.in_range,
            self.n,
            self.p90_ms,
            self.independent_below_ms,
            self.independent_above_ms,
        )


class _AdditivityFile(_Checked):
    networks: PositiveInt
    mape: FiniteFloat
    bias: FiniteFloat
    spearman: FiniteFloat | None
    whole: Provenance


class _TableFile(_Checked):
    format: Literal["mnv3c-lut"]
    version: Literal[1]
    space: _Name
    device: _Name
    processor: _Name
    runtime: _Name
    dtype: _Name
    threads: PositiveInt
    resolutions: tuple[PositiveInt, ...]
    network_ms: FiniteFloat
    correlation: Annotated[FiniteFloat, Field(ge=0, le=1)]
    made_by: dict[Provenance, _Text]
    additivity: _AdditivityFile | None
    entries: tuple[_EntryFile, ...]

    def table(self) -> Table:
        return Table(
            space=self.space,
            identity=Identity(self.device, self.processor, self.runtime, self.dtype, self.threads),
            resolutions=self.resolutions,
            entries=tuple(entry.entry() for entry in self.entries),
            made_by={kind: self.made_by[kind] for kind in PROVENANCES if kind in self.made_by},
            network_ms=self.network_ms,
            correlation=self.correlation,
            additivity=Additivity(**dict(self.additivity)) if self.additivity else None,
        )


def table_text(table: Table) -> str:
    """The table as JSON: equal for equal tables, an entry a line."""
    head = json.dumps(_head(table), indent=1)
    entries = ",\n".join("  " + json.dumps(entry_document(entry)) for entry in table.entries)
    return f'{head[:-2]},\n "entries": [\n{entries}\n ]\n}}\n'


def write_table(path: Path, table: Table) -> None:
    """Write the table, whole or not at all. Raises MissingError where the disk refuses."""
    write_whole(path, table_text(table))


def read_table(path: Path) -> Table:
    """The table of a file. Raises UserError, in one line that names the file and the key, where it is none."""
    text = read_text(path)
    try:
        table = _TableFile.model_validate_json(text).table()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {key}: {message}" if key else f"{path}: is no table: {message}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    units = [entry.unit for entry in table.entries]
    if len(set(units)) < len(units):
        twice = next(unit for index, unit in enumerate(units) if unit in units[:index])
        raise UserError(f"{path}: '{twice}' has two entries")
    return table


def entry_document(entry: Entry) -> dict[str, Any]:
    """The entry as a line says it; what is not known of it is left out."""
    of_some = ("n", "p90_ms", "independent_below_ms", "independent_above_ms")
    known = {name: value for name in of_some if (value := getattr(entry, name)) is not None}
    return {
        "work": str(entry.unit),
        "p50_ms": entry.p50_ms,
        "low_ms": entry.low_ms,
        "high_ms": entry.high_ms,
        "provenance": entry.provenance,
        "resolutions": list(entry.resolutions),
        "in_range": entry.in_range,
        **known,
    }


def _head(table: Table) -> dict[str, Any]:
    identity, additivity = table.identity, table.additivity
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "space": table.space,
        "device": identity.device,
        "processor": identity.processor,
        "runtime": identity.runtime,
        "dtype": identity.precision,
        "threads": identity.threads,
        "resolutions": list(table.resolutions),
        "network_ms": table.network_ms,
        "correlation": table.correlation,
        "made_by": dict(table.made_by),
        "additivity": vars(additivity) if additivity else None,
    }
