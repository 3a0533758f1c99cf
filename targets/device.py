"""CPU devices as checked data: one YAML file a device, with a source beside every number.

In the file each quantity is written `{value: 64 KiB, source: "trm: table 5-1"}`. In Python the attribute is the plain
number (`device.cache.l1d_bytes == 65536`) and `device.source("cache.l1d_bytes")` is its source. A source is either a
key of the file's own `references`, with an optional place within it (`trm: table 5-1`), or `assumption: why`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mnv3c.graph.errors import UserError
from mnv3c.targets.strict_yaml import read_mapping
from mnv3c.targets.units import parse_bytes, parse_bytes_per_s, parse_hertz
from mnv3c.targets.violations import KeyedError, first_violation

_ASSUMPTION = "assumption"
# How the title of a detected host begins.
HOST_TITLE = "this machine: "
# Prose, provenance and roles: they change nothing that a compiler or a cost model computes.
_NOT_FINGERPRINTED = frozenset({"title", "default", "references", "sources", "cpuinfo"})


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("must be a power of two")
    return value


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Field(min_length=1, max_length=600, pattern=r"^\S([^\r\n]*\S)?$")]
Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0, le=2**50)]
# The lower bounds catch a forgotten unit: `clock_hz: 2` is not two gigahertz.
Hertz = Annotated[int, BeforeValidator(parse_hertz), Field(ge=10**6, le=2 * 10**10)]
BytesPerSecond = Annotated[int, BeforeValidator(parse_bytes_per_s), Field(ge=10**6, le=10**15)]
PowerOfTwo = Annotated[int, AfterValidator(_power_of_two)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LlvmCpu(_Frozen):
    """How LLVM names the core: `-mcpu` and extra `-mattr` features such as `+dotprod`.

    `unrolls` says that LLVM unrolls any loop for it, as it does on arm64 for cores that issue in order. `model` names
    the core whose scheduling model stands in where LLVM has none that fits; it changes no code.
    """

    cpu: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    features: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[+-][a-z0-9][a-z0-9._-]*$")], ...], BeforeValidator(_as_tuple)
    ] = ()
    unrolls: bool = False
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] | None = None

    @property
    def scheduling_model(self) -> str:
        """The core whose scheduling model LLVM is asked for."""
        return self.model or self.cpu


class CpuInfo(_Frozen):
    """How Linux on Arm names the core in /proc/cpuinfo: the `CPU implementer` and `CPU part` lines.

    The first part is the core itself; any others are cores that it stands in for when a host is detected.
    """

    implementer: Annotated[str, Field(pattern=r"^0x[0-9a-f]{2}$")]
    parts: Annotated[
        tuple[Annotated[str, Field(pattern=r"^0x[0-9a-f]{3}$")], ...], BeforeValidator(_as_tuple), Field(min_length=1)
    ]


class ClockRange(_Frozen):
    """The slowest and the fastest clock of the cores, in Hz."""

    min: Hertz
    max: Hertz

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError("min must not be above max")
        return self


class VectorUnit(_Frozen):
    """What one core's vector unit does; a core without one is described by `bits: 32`, one fp32 lane.

    `fma_pipes` counts fused multiply-adds of the full width `bits` that start per cycle: two 64-bit pipes that share a
    128-bit operation are one. `fma_latency_cycles` runs from operands to result, without accumulator forwarding.
    `load_bytes_per_cycle` and `store_bytes_per_cycle` are sustained from and to the first-level data cache.
    `load_pair_cycles` is for how long one load of two vectors holds the load path, where that is known to be more than
    their bytes take. `tile_bf16_macs` is how many products of bfloat16 a tile unit (AMX) adds up in float32 in a cycle,
    where there is one. `fp16` says that arithmetic (not only conversion) is done in half precision; `dot_product`, that
    four int8 products are added into an int32 lane by one instruction.
    """

    bits: Annotated[PowerOfTwo, Field(ge=32, le=2048)]
    registers: Annotated[int, Field(ge=4, le=256)]
    fma_pipes: Annotated[int, Field(gt=0, le=16)]
    fma_latency_cycles: Annotated[int, Field(gt=0, le=64)]
    load_bytes_per_cycle: Annotated[int, Field(gt=0, le=1024)]
    store_bytes_per_cycle: Annotated[int, Field(gt=0, le=1024)]
    load_pair_cycles: Annotated[int, Field(gt=0, le=64)] | None = None
    tile_bf16_macs: Annotated[int, Field(gt=0, le=1 << 16)] | None = None
    fp16: bool
    dot_product: bool


class Caches(_Frozen):
    """Data cache sizes in bytes, as one core sees them; `l2_shared` says that the cores share one second level."""

    l1d_bytes: Bytes
    l2_bytes: Bytes
    l2_shared: bool
    l3_bytes: Bytes | None
    line_bytes: Annotated[PowerOfTwo, Field(ge=16, le=1024)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.l1d_bytes > self.l2_bytes:
            raise ValueError("l1d_bytes must not be above l2_bytes")
        return self


class Memory(_Frozen):
    """The main memory behind all cores together: its theoretical peak, of which programs reach a part."""

    bandwidth_bytes_per_s: BytesPerSecond


class Quantity(_Frozen):
    """One sourced value of a device: its dotted key, its value in base units, and where the value comes from."""

    key: str
    value: int | bool | None
    source: str

    @property
    def is_assumption(self) -> bool:
        """True if nobody published or read out this value."""
        return self.source.startswith(f"{_ASSUMPTION}: ")


class CpuDevice(_Frozen):
    """One kind of core in a typical system: what the compiler, the cost model and the drawing know of the hardware.

    `target` is the folder under `targets/` that compiles for it. `cores` counts the cores of this kind. Where a target
    has a device with `default: true`, that one is used when the user names only the target.
    """

    name: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    target: Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    default: bool = False
    references: Annotated[tuple[tuple[str, Text], ...], BeforeValidator(lambda value: _pairs(value))]
    llvm: LlvmCpu
    cpuinfo: CpuInfo | None = None
    cores: Annotated[int, Field(gt=0, le=4096)]
    clock_hz: ClockRange
    vector: VectorUnit
    cache: Caches
    memory: Memory
    sources: tuple[tuple[str, Text], ...]

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        known = {key for key, _ in self.references}
        for key, source in self.sources:
            origin, _, place = source.partition(": ")
            if origin not in known | {_ASSUMPTION} or (origin == _ASSUMPTION and not place):
                allowed = ", ".join([*sorted(known), f"{_ASSUMPTION}: why"])
                raise KeyedError(f"{key}.source", f"must begin with one of: {allowed}")
        return self

    def lanes(self, dtype_bits: int = 32) -> int:
        """Count the elements of `dtype_bits` bits in one vector register; at least 1."""
        return max(1, self.vector.bits // dtype_bits)

    @property
    def peak_flops(self) -> float:
        """Floating-point operations per second of one core in fp32 at its fastest clock; an FMA counts as two."""
        return float(self.clock_hz.max * self.vector.fma_pipes * self.lanes(32) * 2)

    @property
    def core_class(self) -> str:
        """The target and the core that LLVM generates code for: devices of one class share tuning records."""
        return f"{self.target}-{self.llvm.cpu}"

    @property
    def processor_name(self) -> str:
        """The title; of a detected host, what its processor calls itself."""
        return self.title.removeprefix(HOST_TITLE)

    def source(self, key: str) -> str:
        """Return the source of the quantity at a dotted key such as `vector.bits`; raises KeyError."""
        return dict(self.sources)[key]

    def quantities(self) -> tuple[Quantity, ...]:
        """List every sourced value in the order of the model's fields."""
        sources = dict(self.sources)
        found = _sourced_leaves(self.model_dump())
        return tuple(Quantity(key=key, value=value, source=sources[key]) for key, value in found if key in sources)

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex over everything that a compiler or a cost model reads; prose and sources do not change it."""
        content = self.model_dump(mode="json", exclude=set(_NOT_FINGERPRINTED))
        content["llvm"]["model"] = None
        _drop_unsaid(content)
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def document(self) -> dict[str, object]:
        """Return the device in the form of its file: `device_from_document` reads it back to an equal device."""
        plain: dict[str, object] = self.model_dump(mode="json", exclude={"sources", "cpuinfo"})
        plain["references"] = dict(self.references)
        if self.cpuinfo is not None:
            plain["cpuinfo"] = self.cpuinfo.model_dump(mode="json")
        for quantity in self.quantities():
            section, _, leaf = quantity.key.rpartition(".")
            holder = plain[section] if section else plain
            assert isinstance(holder, dict)
            holder[leaf or quantity.key] = {"value": quantity.value, "source": quantity.source}
        _drop_unsaid(plain)
        return plain


def load_device(path: Path) -> CpuDevice:
    """Read a device file. Raises UserError in one line that names the file, the dotted key, and what is allowed."""
    return device_from_document(read_mapping(path), str(path))


def device_from_document(document: Mapping[str, object], origin: str) -> CpuDevice:
    """Check a device in the form of its file, in which each quantity is `{value: ..., source: ...}`.

    `origin` names the document in messages. Raises UserError as `load_device` does.
    """
    try:
        return CpuDevice.model_validate(_split_sources(document))
    except KeyedError as problem:
        raise UserError(f"{origin}: {problem}") from None
    except ValidationError as error:
        raise UserError(f"{origin}: {first_violation(error, CpuDevice, document)}") from None


def _split_sources(document: Mapping[str, object]) -> dict[str, object]:
    """Turn each `{value, source}` into its value, and collect the sources under their dotted keys."""
    plain = dict(document)
    if "sources" in plain:
        raise KeyedError("sources", "is not a key of a device file; write each source beside its value")
    sources: list[tuple[str, object]] = []
    for section in _SOURCED_SECTIONS:
        content = plain.get(section)
        if isinstance(content, Mapping):
            plain[section] = {key: _take(f"{section}.{key}", leaf, sources) for key, leaf in content.items()}
    if "cores" in plain:
        plain["cores"] = _take("cores", plain["cores"], sources)
    plain["sources"] = tuple(sources)
    return plain


def _take(key: str, leaf: object, sources: list[tuple[str, object]]) -> object:
    if not isinstance(leaf, Mapping) or set(leaf) != {"value", "source"}:
        raise KeyedError(key, "must be written {value: ..., source: ...}; every number needs a source")
    if not isinstance(leaf["source"], str) or not leaf["source"].strip():
        raise KeyedError(f"{key}.source", "must be text that says where the value comes from")
    sources.append((key, leaf["source"]))
    return leaf["value"]


_SOURCED_SECTIONS = ("clock_hz", "vector", "cache", "memory")
# Keys that most files leave out.
_UNSAID = (("llvm", "unrolls"), ("llvm", "model"), ("vector", "load_pair_cycles"), ("vector", "tile_bf16_macs"))


def _drop_unsaid(content: dict[str, Any]) -> None:
    """Leave out what a file leaves out: what is known of devices from before there was a key stays valid."""
    for section, key in _UNSAID:
        if not content[section][key]:
            del content[section][key]


def _sourced_leaves(dumped: Mapping[str, object]) -> Iterator[tuple[str, int | bool | None]]:
    cores = dumped["cores"]
    assert isinstance(cores, int)
    yield "cores", cores
    for section in _SOURCED_SECTIONS:
        content = dumped[section]
        assert isinstance(content, dict)
        yield from ((f"{section}.{key}", value) for key, value in content.items())


def _pairs(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    if _ASSUMPTION in value:
        raise ValueError(f"'{_ASSUMPTION}' is reserved and cannot name a reference")
    return tuple(value.items())
