"""The numbers of a device that the timeline reads, worked out once: what a byte, an output and a product cost."""

from dataclasses import dataclass

from mnv3c.targets.edgetpu.device import AcceleratorDevice, SystolicArray


@dataclass(frozen=True, slots=True)
class Machine:
    """A device as rates. None is unlimited or free, as in the device's file."""

    name: str
    array: SystolicArray
    clock_hz: int
    dram_bytes_per_s: int | None
    dram_latency_cycles: int
    sram_bytes: int | None
    tile_fraction: float
    sram_bytes_per_cycle: int | None
    lanes: int | None
    output_lanes: int | None
    launch_cycles: int
    fuses_layers: bool
    pins_weights: bool
    weight_permille: int

    @classmethod
    def of(cls, device: AcceleratorDevice) -> "Machine":
        """What the timeline needs of a device. Raises UserError for one without a systolic array."""
        memory, rate = device.memory, device.memory.dram_bytes_per_s
        return cls(
            name=device.name,
            array=device.systolic_array,
            clock_hz=int(device.clock_hz),
            dram_bytes_per_s=None if rate is None else int(rate),
            dram_latency_cycles=memory.dram_latency_cycles,
            sram_bytes=memory.sram_bytes,
            tile_fraction=memory.tile_fraction,
            sram_bytes_per_cycle=memory.sram_bytes_per_cycle,
            lanes=device.vector.lanes,
            output_lanes=device.vector.output_lanes,
            launch_cycles=device.control.launch_cycles,
            fuses_layers=device.control.fuses_layers,
            pins_weights=memory.pins_weights,
            weight_permille=round(memory.weight_compression * 1000),
        )

    @property
    def half_bytes(self) -> int | None:
        """What one layer's tile buffers may take: half of the tile memory.

        Neighbouring layers take turns, so that a layer's first weights can come while the layer before still computes.
        """
        return None if self.sram_bytes is None else int(self.sram_bytes * self.tile_fraction) // 2

    @property
    def held_bytes(self) -> int | None:
        """What is left for activations that stay and for pinned weights."""
        half = self.half_bytes
        return None if self.sram_bytes is None or half is None else self.sram_bytes - 2 * half

    def transfer_cycles(self, count: int) -> int:
        """Cycles of one transfer of so many bytes between DRAM and SRAM; none where nothing waits for DRAM."""
        if self.dram_bytes_per_s is None or count == 0:
            return 0
        return self.dram_latency_cycles - (-count * self.clock_hz // self.dram_bytes_per_s)

    def stored_weight_bytes(self, count: int) -> int:
        """Bytes of so many weights in DRAM, compressed where the device can unpack them."""
        return -(-count * self.weight_permille // 1000)
