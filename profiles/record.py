"""A measurement as a record: what was timed, on what, how long it took, and who says so."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainSerializer,
    PlainValidator,
    PositiveInt,
    ValidationError,
    model_validator,
)

from mnv3c.graph.errors import UserError
from mnv3c.profiles.jsonl_store import JsonlStore, LineFormat, write_lines
from mnv3c.profiles.work import Work, parse_work

Statistic = Literal["median", "mean", "min"]
UNKNOWN = "unknown"
# Tags of kernels that our own compiler makes: the network, and how many bytes of their weights are near beforehand.
OWN_NETWORK_TAG, AHEAD_TAG = "network", "ahead_bytes"


def _work(value: object) -> Work:
    if isinstance(value, str):
        try:
            return parse_work(value)
        except UserError as error:
            raise ValueError(str(error)) from None
    if not isinstance(value, Work):
        raise ValueError("is not a work or its text")
    return value


def _moment(value: str) -> str:
    datetime.fromisoformat(value)  # raises ValueError
    return value


_NAME = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
_TEXT = r"^[^\x00-\x1f\x7f]*$"
_WORD = r"^[a-z][a-z0-9_-]*$"
_Name = Annotated[str, Field(pattern=_NAME, max_length=200)]
_Text = Annotated[str, Field(pattern=_TEXT, max_length=2000)]
_Word = Annotated[str, Field(pattern=_WORD, max_length=80)]
_Time = Annotated[FiniteFloat, Field(gt=0)]
_Work = Annotated[Work, PlainValidator(_work), PlainSerializer(str)]

# What a pattern asks for, in words.
_WANTED = MappingProxyType(
    {
        _NAME: "must be text without control characters that neither begins nor ends with a space",
        _TEXT: "must be text without control characters",
        _WORD: "must be a word of lower-case letters, digits, _ and -",
    }
)

# What is measured once in a campaign.
RecordKey = tuple[str, str, str, str, str, int, tuple[tuple[str, str], ...]]


class Record(BaseModel):
    """One measured figure and what is known about it. Times are in milliseconds; None where the source does not say.

    `latency_ms` is the median, mean or least of `n` runs, as `statistic` says; `p10_ms` and `p90_ms` are percentiles of
    the runs, `ci_low_ms` and `ci_high_ms` bound the confidence interval of `latency_ms`. `device` is the machine,
    `processor` what in it computed (cpu, gpu, dpu, ...), `runtime` the software with its version where that is known:
    "unknown" where nobody says. `precision` is what the runtime computed in; the keys of `work` are the graph's, in
    float32. `threads` is 1 for a processor whose work host threads do not share. `flags` are remarks on quality, one
    word each; `tags` are more columns, whose names are not those of fields. `when` is ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)
    version: Literal[1] = 1
    work: _Work
    device: _Name
    processor: _Name
    runtime: _Name
    precision: _Name
    threads: PositiveInt
    clock_hz: Annotated[FiniteFloat, Field(gt=0)] | None = None
    n: PositiveInt | None = None
    latency_ms: _Time
    statistic: Statistic = "median"
    p10_ms: _Time | None = None
    p90_ms: _Time | None = None
    min_ms: _Time | None = None
    max_ms: _Time | None = None
    std_ms: Annotated[FiniteFloat, Field(ge=0)] | None = None
    ci_low_ms: _Time | None = None
    ci_high_ms: _Time | None = None
    flags: tuple[_Word, ...] = ()
    tags: dict[_Word, Annotated[_Text, Field(min_length=1)]] = {}
    source: _Text = ""
    licence: _Text = ""
    who: _Text = ""
    when: Annotated[str, AfterValidator(_moment), Field(max_length=40)] | None = None
    how: _Text = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for low, high, names in (
            (self.p10_ms, self.p90_ms, "p10_ms is above p90_ms"),
            (self.min_ms, self.max_ms, "min_ms is above max_ms"),
            (self.ci_low_ms, self.ci_high_ms, "ci_low_ms is above ci_high_ms"),
        ):
            if low is not None and high is not None and low > high:
                raise ValueError(names)
        if not FIELDS.isdisjoint(self.tags):
            raise ValueError(f"tag '{min(FIELDS & self.tags.keys())}' has the name of a field")
        return self

    @property
    def median_ms(self) -> float | None:
        """The median, if that is what is known."""
        return self.latency_ms if self.statistic == "median" else None

    @property
    def key(self) -> RecordKey:
        """What is measured once: the work on the device, processor, runtime, precision, threads, and with the tags."""
        tags = tuple(sorted(self.tags.items()))
        return (str(self.work), self.device, self.processor, self.runtime, self.precision, self.threads, tags)

    def column(self, name: str) -> str | None:
        """The value of a field or a tag as text; None where the record has none."""
        if name == "kind":
            return self.work.kind
        value = getattr(self, name) if name in FIELDS else self.tags.get(name)
        return None if value is None else str(value)


FIELDS = frozenset(Record.model_fields)


def record_of(values: Mapping[str, Any], origin: str) -> Record:
    """The record with these fields. Raises UserError that begins with `origin`, such as the file and the line."""
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{origin}: {_first_problem(error)}") from None


def encode(record: Record) -> bytes:
    """The record's line of JSON, without the fields of which nothing is known."""
    return (record.model_dump_json(exclude_none=True) + "\n").encode()


def decode(line: bytes, origin: str) -> Record:
    """The record of a line. Raises UserError that begins with `origin`, the file and the line."""
    try:
        return Record.model_validate_json(line)
    except ValidationError as error:
        raise UserError(f"{origin}: {_first_problem(error)}") from None


def newer(one: Record, other: Record) -> Record:
    """The later of two records of the same key; their text decides where no time is known or both are the same."""
    return max(one, other, key=lambda record: (record.when or "", encode(record)))


RECORD_LINES = LineFormat(
    encode=encode, decode=decode, key=lambda record: record.key, newer=newer, beginning=b'{"version":'
)


class RecordStore(JsonlStore[Record, RecordKey]):
    """A file of records to which a campaign appends; it need not exist. Raises UserError as `JsonlStore` does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, RECORD_LINES)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a file of records, whole or not at all. Raises MissingError where the disk refuses."""
    write_lines(path, map(encode, records))


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    found = first["input"]
    message = _WANTED.get(first.get("ctx", {}).get("pattern", ""), first["msg"].removeprefix("Value error, "))
    if first["type"] in ("json_invalid", "missing") or isinstance(found, dict | bytes) or message.startswith("work "):
        shown = ""
    else:
        shown = f", not {found!r:.60}"
    name = ".".join(map(str, first["loc"]))
    return f"{name}: {message}{shown}" if name else message + shown
