"""An accelerator as checked data: a MAC array, a vector unit, an SRAM, a memory interface, energies and areas.

`null` means unlimited or free of charge ("ideal"): no SRAM limit, no waiting for DRAM, vector work that costs nothing.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mnv3c.graph.errors import UserError
from mnv3c.targets.base_device import Bytes, BytesPerSecond, Device, Frozen, Hertz, Plain, Text
from mnv3c.targets.edgetpu.device_blocks import BlockEngine
from mnv3c.targets.edgetpu.device_settings import full_key, with_settings
from mnv3c.targets.edgetpu.device_technology import with_technology
from mnv3c.targets.violations import KeyedError

Dataflow = Literal["os", "ws", "is"]
Count = Annotated[int, Field(gt=0, le=1 << 16)]
Cycles = Annotated[int, Field(ge=0, le=10**9)]
# A KiB at least: `sram_bytes: 8` has lost its unit.
SramBytes = Annotated[Bytes, Field(ge=1024)]
Picojoules = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Area = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class SystolicArray(Frozen):
    """A grid of `rows` x `cols` processing elements, one MAC each a cycle; `dataflow` says which operand stays put.

    `depthwise` is how a depthwise convolution is mapped: `diagonal_ws` puts each channel's taps into a column of its
    own; `vector` leaves it to the vector unit; `dedicated` has a mode of its own that does `depthwise_macs_per_cycle`;
    `per_channel` runs one product a channel, as SCALE-Sim does. `accumulator_bytes` hold the int32 sums of a tile.
    """

    kind: Literal["systolic"]
    rows: Count
    cols: Count
    dataflow: Dataflow
    depthwise: Literal["diagonal_ws", "vector", "dedicated", "per_channel"]
    depthwise_macs_per_cycle: Count | None = None
    accumulator_bytes: Bytes | None

    @property
    def macs_per_cycle(self) -> int:
        """Products of two int8 that are added up in a cycle at most."""
        return self.rows * self.cols


class BlockArray(Frozen):
    """Dot-product units behind a block of outputs that stay put, as in Arm's Ethos-U.

    A step computes `block_height` x `block_width` output positions in `block_depth` channels, and sums up `input_depth`
    products in each. Depthwise convolutions have a mode of their own that does `depthwise_macs_per_cycle`.
    """

    kind: Literal["blocks"]
    block_height: Count
    block_width: Count
    block_depth: Count
    input_depth: Count
    depthwise: Literal["dedicated"]
    depthwise_macs_per_cycle: Count

    @property
    def macs_per_cycle(self) -> int:
        """Products of two int8 that are added up in a cycle at most."""
        return self.block_height * self.block_width * self.block_depth * self.input_depth


class VectorUnit(Frozen):
    """What works on int8 beside the array: pools, gates, sums, tables.

    `lanes` are int8 elements a cycle (null: it costs nothing); `output_lanes`, accumulators that are requantised a
    cycle on their way out of the array (null: free).
    """

    lanes: Count | None
    output_lanes: Count | None


class Memory(Frozen):
    """The SRAM and the way to DRAM.

    `tile_fraction` is the part of the SRAM that holds tile buffers; the rest holds activations and pinned weights.
    `dram_bytes_per_s` null means that nothing ever waits for DRAM; `dram_latency_cycles` is spent once a transfer.
    `pins_weights` says that weights may stay in SRAM from one inference to the next; `weight_compression` is stored
    bytes over raw bytes.
    """

    sram_bytes: SramBytes | None
    sram_banks: Count | None
    bank_bytes_per_cycle: Count | None
    tile_fraction: Annotated[float, Field(gt=0, lt=1)]
    dram_bytes_per_s: BytesPerSecond | None
    dram_latency_cycles: Cycles
    pins_weights: bool
    weight_compression: Annotated[float, Field(gt=0, le=2)]

    @model_validator(mode="after")
    def _whole_banks(self) -> Self:
        if (self.sram_banks is None) != (self.bank_bytes_per_cycle is None):
            raise ValueError("sram_banks and bank_bytes_per_cycle must both be null or both be numbers")
        return self

    @property
    def sram_bytes_per_cycle(self) -> int | None:
        """Bytes that all banks together move in a cycle; None for no limit."""
        if self.sram_banks is None or self.bank_bytes_per_cycle is None:
            return None
        return self.sram_banks * self.bank_bytes_per_cycle


class Control(Frozen):
    """`launch_cycles` pass before each layer; `fuses_layers` says that neighbouring layers may run strip by strip."""

    launch_cycles: Cycles
    fuses_layers: bool


class Energy(Frozen):
    """Energy of one MAC (int8 product and int32 sum), of a byte at each level, and of one int8 vector operation.

    The SRAM's figures hold for one of `sram_reference_bytes`; another size costs sqrt(size / reference) times as much,
    since bit lines grow with the side of the memory (Horowitz, ISSCC 2014: 10, 20, 100 pJ for 8 KB, 32 KB, 1 MB are
    within 13 % of this rule). null: any size costs the same.
    """

    mac_pj: Picojoules
    accumulator_pj_per_byte: Picojoules
    sram_read_pj_per_byte: Picojoules
    sram_write_pj_per_byte: Picojoules
    sram_reference_bytes: SramBytes | None
    dram_pj_per_byte: Picojoules
    vector_pj: Picojoules
    leakage_w: Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]


class AreaModel(Frozen):
    """Silicon area of one MAC, of a byte of SRAM, of one vector lane, and of everything else together."""

    mac_um2: Area
    sram_um2_per_byte: Area
    lane_um2: Area
    fixed_mm2: Annotated[float, Field(ge=0, le=1e5, allow_inf_nan=False)]


class AcceleratorDevice(Device):
    """A neural-network accelerator: what the emulator, the energy model and the drawing know of it.

    `technology` names a shared file of energies and areas; what the device's own file says goes before it.
    """

    kind: ClassVar[str] = "an accelerator"
    used_by: ClassVar[str] = "mnv3c emulate"
    sections: ClassVar[tuple[str, ...]] = (
        "array",
        "blocks",
        "vector",
        "memory",
        "control",
        "energy",
        "area",
    )
    leaves: ClassVar[tuple[str, ...]] = ("clock_hz",)
    optional: ClassVar[tuple[str, ...]] = ("technology", "blocks", "array.depthwise_macs_per_cycle")
    unread: ClassVar[tuple[str, ...]] = ("technology",)

    technology: Text | None = None
    clock_hz: Hertz
    array: Annotated[SystolicArray | BlockArray, Field(discriminator="kind")]
    blocks: BlockEngine | None = None
    vector: VectorUnit
    memory: Memory
    control: Control
    energy: Energy
    area: AreaModel

    @model_validator(mode="after")
    def _depthwise_has_its_unit(self) -> Self:
        mapping, rate = self.array.depthwise, self.array.depthwise_macs_per_cycle
        if mapping == "dedicated" and rate is None:
            raise KeyedError("array.depthwise_macs_per_cycle", "must be a number where array.depthwise is 'dedicated'")
        if mapping != "dedicated" and rate is not None:
            raise KeyedError("array.depthwise_macs_per_cycle", f"must be null where array.depthwise is '{mapping}'")
        if mapping == "vector" and self.vector.lanes is None:
            raise KeyedError("vector.lanes", "must be a number where array.depthwise is 'vector'")
        return self

    @model_validator(mode="after")
    def _blocks_have_an_engine(self) -> Self:
        if isinstance(self.array, BlockArray) != (self.blocks is not None):
            raise KeyedError("blocks", "must be there where array.kind is 'blocks', and only there")
        if isinstance(self.array, BlockArray) and self.blocks and self.array.block_depth % self.blocks.cores:
            raise KeyedError("array.block_depth", "must be a multiple of blocks.cores")
        return self

    @classmethod
    def completed(cls, document: Mapping[str, object]) -> Mapping[str, object]:
        """The document with the energies and areas of its technology. Raises KeyedError, UserError."""
        return with_technology(document)

    @property
    def peak_ops(self) -> float:
        """Integer operations per second at most; a MAC counts as two."""
        return float(self.clock_hz * self.array.macs_per_cycle * 2)

    @property
    def dram_bytes_per_cycle(self) -> float | None:
        """Bytes over the memory interface in one cycle; None where nothing waits for it."""
        rate = self.memory.dram_bytes_per_s
        return None if rate is None else rate / self.clock_hz

    @property
    def systolic_array(self) -> SystolicArray:
        """The array, for what cuts layers into tiles. Raises UserError for one of kind `blocks`, which has no tiles."""
        if isinstance(self.array, SystolicArray):
            return self.array
        raise UserError(
            f"device '{self.name}': an array of kind 'blocks' can be emulated but runs no commands; "
            "take a device with a systolic array"
        )

    def with_settings(self, settings: Mapping[str, Plain]) -> "AcceleratorDevice":
        """A checked copy with other values: `{"dataflow": "ws", "memory.sram_bytes": "256K"}`.

        Keys are dotted or their last part alone. Text is read as in a device file; sizes may say K, M, G (binary), and
        `none` is null. The name stays and the fingerprint follows. Raises UserError.
        """
        return with_settings(self, settings)

    def require_key(self, key: str) -> None:
        """Raise UserError, with those that are close, where `with_settings` takes no such key."""
        full_key(key, self)


MODEL = AcceleratorDevice
