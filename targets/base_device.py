"""What all kinds of devices have in common: checked data with a source beside every number.

In the file each quantity is written `{value: 64 KiB, source: "trm: table 5-1"}`. In Python the attribute is the plain
number (`device.cache.l1d_bytes == 65536`) and `device.source("cache.l1d_bytes")` is its source. A source is either a
key of the file's own `references`, with an optional place within it (`trm: table 5-1`), or `assumption: why`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mnv3c.targets.units import parse_bytes, parse_bytes_per_s, parse_hertz
from mnv3c.targets.violations import KeyedError

ASSUMPTION = "assumption"
# Prose, provenance and roles: they change nothing that a compiler, a cost model or an emulator computes.
_NOT_FINGERPRINTED = ("title", "default", "references", "sources")


def as_tuple(value: object) -> object:
    """A list of YAML as the tuple that a frozen value holds; anything else unchanged."""
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Field(min_length=1, max_length=600, pattern=r"^\S([^\r\n]*\S)?$")]
Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0, le=2**50)]
# The lower bounds catch a forgotten unit: `clock_hz: 2` is not two gigahertz.
Hertz = Annotated[int, BeforeValidator(parse_hertz), Field(ge=10**6, le=2 * 10**10)]
BytesPerSecond = Annotated[int, BeforeValidator(parse_bytes_per_s), Field(ge=10**6, le=10**15)]
Plain = int | float | bool | str | None


class Frozen(BaseModel):
    """A checked value: unknown keys, and numbers written as text, are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Quantity(Frozen):
    """One sourced value of a device: its dotted key, its value in base units, and where the value comes from."""

    key: str
    value: Plain
    source: str

    @property
    def is_assumption(self) -> bool:
        """True if nobody published or read out this value."""
        return self.source.startswith(f"{ASSUMPTION}: ")


class Device(Frozen):
    """A device of any kind. A kind says in `sections` and `leaves` which of its fields hold quantities.

    `target` is the folder under `targets/` that the device belongs to. Where a target has a device with
    `default: true`, that one is used when the user names only the target.
    """

    # For messages: "device 'edgetpu-like' is an accelerator: use mnv3c emulate".
    kind: ClassVar[str] = "a device"
    used_by: ClassVar[str] = "mnv3c targets"
    sections: ClassVar[tuple[str, ...]] = ()
    leaves: ClassVar[tuple[str, ...]] = ()
    # Dotted keys that most files leave out: what is known of devices from before there was a key stays valid.
    optional: ClassVar[tuple[str, ...]] = ()
    # Further dotted keys that change no result.
    unread: ClassVar[tuple[str, ...]] = ()

    name: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    target: Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    default: bool = False
    references: Annotated[tuple[tuple[str, Text], ...], BeforeValidator(lambda value: _pairs(value))]
    sources: tuple[tuple[str, Text], ...]

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        known = {key for key, _ in self.references} | {ASSUMPTION}
        for key, source in self.sources:
            origin, _, place = source.partition(": ")
            if origin not in known or (origin == ASSUMPTION and not place):
                allowed = ", ".join([*sorted(known - {ASSUMPTION}), f"{ASSUMPTION}: why"])
                raise KeyedError(f"{key}.source", f"must begin with one of: {allowed}")
        return self

    @classmethod
    def completed(cls, document: Mapping[str, object]) -> Mapping[str, object]:
        """The document with what it names in other files filled in. Raises KeyedError, UserError."""
        return document

    @classmethod
    def split_sources(cls, document: Mapping[str, object]) -> dict[str, object]:
        """Turn each `{value, source}` into its value, and collect the sources by dotted keys. Raises KeyedError."""
        plain = dict(document)
        if "sources" in plain:
            raise KeyedError("sources", "is not a key of a device file; write each source beside its value")
        sources: list[tuple[str, object]] = []
        for section in cls.sections:
            content = plain.get(section)
            if isinstance(content, Mapping):
                plain[section] = {key: _take(f"{section}.{key}", leaf, sources) for key, leaf in content.items()}
        for key in cls.leaves:
            if key in plain:
                plain[key] = _take(key, plain[key], sources)
        plain["sources"] = tuple(sources)
        return plain

    def source(self, key: str) -> str:
        """Return the source of the quantity at a dotted key such as `vector.bits`; raises KeyError."""
        return dict(self.sources)[key]

    def quantities(self) -> tuple[Quantity, ...]:
        """List every sourced value in the order of the model's fields."""
        sources = dict(self.sources)
        return tuple(
            Quantity(key=key, value=value, source=sources[key]) for key, value in self._values() if key in sources
        )

    def _values(self) -> Iterator[tuple[str, Plain]]:
        for key in self.leaves:
            yield key, getattr(self, key)
        for section in self.sections:
            content = getattr(self, section)
            yield from ((f"{section}.{key}", value) for key, value in content or ())

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex over everything that a compiler or a model reads; prose and sources do not change it."""
        content = self.model_dump(mode="json", exclude=set(_NOT_FINGERPRINTED))
        for key in self.unread:
            _drop(content, key)
        self._drop_unsaid(content)
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def document(self) -> dict[str, object]:
        """Return the device in the form of its file: `device_from_document` reads it back to an equal device."""
        plain: dict[str, Any] = self.model_dump(mode="json", exclude={"sources"})
        plain["references"] = dict(self.references)
        for quantity in self.quantities():
            section, _, leaf = quantity.key.rpartition(".")
            holder = plain[section] if section else plain
            holder[leaf] = {"value": quantity.value, "source": quantity.source}
        self._drop_unsaid(plain)
        return plain

    def _drop_unsaid(self, content: dict[str, Any]) -> None:
        for key in self.optional:
            section, _, leaf = key.rpartition(".")
            holder = content.get(section) if section else content
            if holder is not None and not holder.get(leaf):
                holder.pop(leaf, None)


def _drop(content: dict[str, Any], key: str) -> None:
    section, _, leaf = key.rpartition(".")
    holder = content[section] if section else content
    holder.pop(leaf, None)


def _take(key: str, leaf: object, sources: list[tuple[str, object]]) -> object:
    if not isinstance(leaf, Mapping) or set(leaf) != {"value", "source"}:
        raise KeyedError(key, "must be written {value: ..., source: ...}; every number needs a source")
    if not isinstance(leaf["source"], str) or not leaf["source"].strip():
        raise KeyedError(f"{key}.source", "must be text that says where the value comes from")
    sources.append((key, leaf["source"]))
    return leaf["value"]


def _pairs(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    if ASSUMPTION in value:
        raise ValueError(f"'{ASSUMPTION}' is reserved and cannot name a reference")
    return tuple(value.items())
