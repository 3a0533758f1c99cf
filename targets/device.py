"""Devices as checked data: one YAML file a device, with a source beside every number; and CPUs, one kind of device.

A target folder whose devices are no CPUs has a module `device` with `MODEL`, the kind of its devices.
"""

from collections.abc import Mapping
from importlib import import_module, resources
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar, cast, overload

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from mnv3c.graph.errors import UserError
from mnv3c.targets.base_device import Bytes, BytesPerSecond, Device, Frozen, Hertz, Quantity, as_tuple
from mnv3c.targets.strict_yaml import read_mapping
from mnv3c.targets.violations import KeyedError, first_violation

__all__ = ["CpuDevice", "Device", "Quantity", "device_from_document", "load_device", "of_kind"]

# How the title of a detected host begins.
HOST_TITLE = "this machine: "
Kind = TypeVar("Kind", bound=Device)


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("must be a power of two")
    return value


PowerOfTwo = Annotated[int, AfterValidator(_power_of_two)]


class LlvmCpu(Frozen):
    """How LLVM names the core: `-mcpu` and extra `-mattr` features such as `+dotprod`.

    `unrolls` says that LLVM unrolls any loop for it, as it does on arm64 for cores that issue in order. `model` names
    the core whose scheduling model stands in where LLVM has none that fits; it changes no code.
    """

    cpu: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    features: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[+-][a-z0-9][a-z0-9._-]*$")], ...], BeforeValidator(as_tuple)
    ] = ()
    unrolls: bool = False
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] | None = None

    @property
    def scheduling_model(self) -> str:
        """The core whose scheduling model LLVM is asked for."""
        return self.model or self.cpu


class CpuInfo(Frozen):
    """How Linux on Arm names the core in /proc/cpuinfo: the `CPU implementer` and `CPU part` lines.

    The first part is the core itself; any others are cores that it stands in for when a host is detected.
    """

    implementer: Annotated[str, Field(pattern=r"^0x[0-9a-f]{2}$")]
    parts: Annotated[
        tuple[Annotated[str, Field(pattern=r"^0x[0-9a-f]{3}$")], ...], BeforeValidator(as_tuple), Field(min_length=1)
    ]


class ClockRange(Frozen):
    """The slowest and the fastest clock of the cores, in Hz."""

    min: Hertz
    max: Hertz

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError("min must not be above max")
        return self


class VectorUnit(Frozen):
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


class Caches(Frozen):
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


class Memory(Frozen):
    """The main memory behind all cores together: its theoretical peak, of which programs reach a part."""

    bandwidth_bytes_per_s: BytesPerSecond


class CpuDevice(Device):
    """One kind of core in a typical system: what the compiler, the cost model and the drawing know of the hardware.

    `target` is the folder under `targets/` that compiles for it. `cores` counts the cores of this kind.
    """

    kind: ClassVar[str] = "a CPU"
    used_by: ClassVar[str] = "mnv3c compile, tune or measure"
    sections: ClassVar[tuple[str, ...]] = ("clock_hz", "vector", "cache", "memory")
    leaves: ClassVar[tuple[str, ...]] = ("cores",)
    optional: ClassVar[tuple[str, ...]] = (
        "cpuinfo",
        "llvm.unrolls",
        "llvm.model",
        "vector.load_pair_cycles",
        "vector.tile_bf16_macs",
    )
    unread: ClassVar[tuple[str, ...]] = ("cpuinfo", "llvm.model")

    llvm: LlvmCpu
    cpuinfo: CpuInfo | None = None
    cores: Annotated[int, Field(gt=0, le=4096)]
    clock_hz: ClockRange
    vector: VectorUnit
    cache: Caches
    memory: Memory

    def lanes(self, dtype_bits: int = 32) -> int:
        """Count the elements of `dtype_bits` bits in one vector register; at least 1."""
        return max(1, self.vector.bits // dtype_bits)

    @property
    def peak_flops(self) -> float:
        """Floating-point operations per second of one core in fp32 at its fastest clock; an FMA counts as two."""
        return float(self.clock_hz.max * self.vector.fma_pipes * self.lanes(32) * 2)

    @property
    def device_class(self) -> str:
        """The core that LLVM generates code for: devices of one class share tuning records."""
        return self.llvm.cpu

    @property
    def core_class(self) -> str:
        """The target and the device class: what the files of records are called."""
        return f"{self.target}-{self.device_class}"

    @property
    def processor_name(self) -> str:
        """The title; of a detected host, what its processor calls itself."""
        return self.title.removeprefix(HOST_TITLE)


@overload
def load_device(path: Path) -> CpuDevice: ...
@overload
def load_device(path: Path, kind: type[Kind]) -> Kind: ...
def load_device(path: Path, kind: type[Device] = CpuDevice) -> Device:
    """Read a device file of a kind; `kind=Device` takes any.

    Raises UserError in one line that names the file, the dotted key, and what is allowed.
    """
    return device_from_document(read_mapping(path), str(path), kind)


@overload
def device_from_document(document: Mapping[str, object], origin: str) -> CpuDevice: ...
@overload
def device_from_document(document: Mapping[str, object], origin: str, kind: type[Kind]) -> Kind: ...
def device_from_document(document: Mapping[str, object], origin: str, kind: type[Device] = CpuDevice) -> Device:
    """Check a device in the form of its file, in which each quantity is `{value: ..., source: ...}`.

    `origin` names the document in messages. Raises UserError as `load_device` does.
    """
    model = _model(document.get("target"))
    try:
        whole = model.completed(document)
        return of_kind(model.model_validate(model.split_sources(whole)), kind)
    except KeyedError as problem:
        raise UserError(f"{origin}: {problem}") from None
    except ValidationError as error:
        raise UserError(f"{origin}: {first_violation(error, model, whole)}") from None


def of_kind(device: Device, kind: type[Kind]) -> Kind:
    """The device, if it is of that kind. Raises UserError that says which commands take it."""
    if isinstance(device, kind):
        return device
    raise UserError(f"device '{device.name}' is {device.kind}: use {device.used_by}; here {kind.kind} is needed")


def _model(target: object) -> type[Device]:
    """The kind of a target's devices; what names no target is checked as a CPU, the kind that most files describe."""
    package = "mnv3c.targets"
    if isinstance(target, str) and target.isidentifier():
        folder = resources.files(package) / target
        if (folder / "device.py").is_file() and (folder / "devices").is_dir():
            return cast(type[Device], import_module(f"{package}.{target}.device").MODEL)
    return CpuDevice
