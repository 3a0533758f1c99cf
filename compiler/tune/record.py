"""A candidate as a record: what was timed or estimated, where, and what came out; a line of JSON with its own hash."""

import hashlib
import json
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError, model_validator

from mnv3c.graph.errors import UserError
from mnv3c.targets.target import Storage

FORMAT: Final = "mnv3c-record/1"
Status = Literal["ok", "crash", "timeout", "wrong", "build_error"]
# How a record came about: timed on a device, or estimated by LLVM's scheduling model, either for all that the kernel
# was counted to execute or only from its innermost loops.
Basis = Literal["measured", "llvm-mca", "llvm-mca-loops"]
STATUSES: tuple[Status, ...] = ("ok", "crash", "timeout", "wrong", "build_error")
_HASH = "sha256"
_HASH_DIGITS = 16
_OF_ESTIMATES = ("basis", "model", "estimated_cycles", "instructions_per_mac")

_Name = Annotated[str, Field(pattern=r"^\S+$", max_length=200)]
_Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f]*$", max_length=2000)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Positive = Annotated[FiniteFloat, Field(gt=0)]

RecordKey = tuple[str, tuple[Storage, ...], str, str, int, str, Basis, str]


class Record(BaseModel):
    """What is known of one candidate for one layer on one device.

    `layer` is the text of the layer's key, `storage` says for each input how it lies in memory. `kernels` is the
    fingerprint of the source that generates the kernel. Times are in microseconds: the median and the least of `n`
    calls. `baseline` is another candidate (the layer's first guess) that took turns with this one, `baseline_us` its
    median meanwhile; `ratio` is this one's time over the baseline's, turn by turn and so free of the machine's drift,
    and `ratio_error` the standard error of that. `when` is in UTC.

    A record whose `basis` is not `measured` is an estimate, which compares with others of the same basis and `model`
    only: `estimated_cycles` of one call by the scheduling model of the processor `model`, and `instructions_per_mac`
    retired, where they were counted and there are multiply-accumulates. It has no times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal["mnv3c-record/1"] = FORMAT
    layer: Annotated[_Text, Field(min_length=1)]
    storage: tuple[Storage, ...]
    target: _Name
    device: _Name
    device_class: _Name
    device_fingerprint: _Hash
    threads: PositiveInt
    kernels: _Hash
    family: _Name
    parameters: dict[_Name, int]
    status: Status
    reason: _Text = ""
    median_us: _Positive | None = None
    min_us: _Positive | None = None
    baseline: _Text = ""
    baseline_us: _Positive | None = None
    ratio: _Positive | None = None
    ratio_error: Annotated[FiniteFloat, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=0)] = 0
    basis: Basis = "measured"
    model: _Name | None = None
    estimated_cycles: _Positive | None = None
    instructions_per_mac: _Positive | None = None
    when: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    host: _Text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        times = (self.median_us, self.min_us, self.baseline_us, self.ratio, self.ratio_error)
        untimed = times == (None,) * len(times) and not self.n
        estimate = (self.estimated_cycles, self.model)
        if self.status != "ok" and not (untimed and self.estimated_cycles is None and self.reason):
            raise ValueError(f"a record with status {self.status} has a reason and no times")
        if self.basis == "measured":
            if self.status == "ok" and (None in times or not self.n or not self.baseline):
                raise ValueError("a record with status ok needs its times, n and baseline")
            if estimate != (None, None) or self.instructions_per_mac is not None:
                raise ValueError("a measured record has no estimate")
        elif not untimed or self.baseline or (self.status == "ok" and None in estimate):
            raise ValueError("an estimate has a model and estimated_cycles, and no times")
        return self

    @property
    def candidate(self) -> str:
        """The candidate as `candidate_name` writes it."""
        return choice_text(self.family, self.parameters)

    @property
    def key(self) -> RecordKey:
        """What is tried once: the candidate for the layer, device and number of threads, by the same sources."""
        return (
            self.layer,
            self.storage,
            self.target,
            self.device_fingerprint,
            self.threads,
            self.kernels,
            self.basis,
            self.candidate,
        )


def choice_text(family: str, parameters: dict[str, int]) -> str:
    """A family and parameters as one line, parameters by name."""
    return " ".join([family, *(f"{name}={value}" for name, value in sorted(parameters.items()))])


def encode(record: Record) -> bytes:
    """The record's line, with its hash."""
    document = record.model_dump(mode="json")
    for name in _OF_ESTIMATES:
        # The line of a measured record is as it was before there were estimates.
        if document[name] in (None, "measured"):
            del document[name]
    return (_canonical(document | {_HASH: _digest(document)}) + "\n").encode()


def decode(line: bytes, origin: str) -> Record:
    """The record of a line. Raises UserError that begins with `origin`, the file and the line."""
    try:
        document = json.loads(line)
    except ValueError:
        raise UserError(f"{origin}: not a line of JSON; remove the line") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else None
        raise UserError(f"{origin}: format: must be '{FORMAT}', not {found!r:.60}")
    if document.pop(_HASH, None) != _digest(document):
        raise UserError(f"{origin}: {_HASH}: is not the hash of the line; it was changed: remove the line")
    try:
        return Record.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "record"
        raise UserError(f"{origin}: {key}: {first['msg']}") from None


def newer(one: Record, other: Record) -> Record:
    """The later of two records of the same key; their text decides between records of the same second."""
    return max(one, other, key=lambda record: (record.when, encode(record)))


def _canonical(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(document).encode()).hexdigest()[:_HASH_DIGITS]
