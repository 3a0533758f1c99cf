"""Which memory port an operator's bytes pass on a block engine, and for how long they occupy it.

The SRAM holds the activations between layers that `residency` finds room for; an activation that it does not hold is
in DRAM and passes both ports. The network's own inputs and outputs are dense, channels last, in DRAM or in SRAM as the
device says; everything else lies in bricks of channels. Weights come from DRAM, compressed, unless they are pinned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from mnv3c.targets.edgetpu.block_engine import round_up
from mnv3c.targets.edgetpu.block_operators import Access, Operator
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulation import Movement
from mnv3c.targets.edgetpu.residency import Residency, residency
from mnv3c.targets.edgetpu.work import Job


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one operator by what they are: those that a port is occupied for, bursts included, and real ones.

    `weight_bytes` is the part of `dram_busy_bytes` that is weights, biases and scales.
    """

    sram_busy_bytes: float
    dram_busy_bytes: float
    weight_bytes: int
    sram_read_bytes: int
    sram_write_bytes: int
    dram_read_bytes: int
    dram_write_bytes: int
    staged_bytes: int


@dataclass(frozen=True, slots=True)
class Ports:
    """The memories of a device with one network in them. Rates are bytes a cycle; None means that nothing waits.

    Latencies are not counted: two or three blocks under way hide them, and Vela's totals show none.
    """

    held: Residency
    dense: frozenset[str]
    dense_in_dram: bool
    sram_rate: float | None
    dram_rate: float | None
    sram_burst: int
    dram_burst: int
    piece: int
    brick: int
    compression: float

    @classmethod
    def of(cls, jobs: Sequence[Job], outputs: Sequence[str], device: AcceleratorDevice) -> Self:
        """The ports of a device of kind `blocks` with the tensors of these jobs."""
        memory, blocks = device.memory, device.blocks
        assert blocks is not None  # the device's check
        capacity = None if memory.sram_bytes is None else int(memory.sram_bytes * (1 - memory.tile_fraction))
        made = {job.name for job in jobs}
        read = {name for job in jobs for name in (job.input, job.second, *(name for name, _ in job.further)) if name}
        return cls(
            held=residency(jobs, outputs, capacity, pins_weights=memory.pins_weights),
            dense=frozenset(read - made) | frozenset(outputs),
            dense_in_dram=blocks.image_in_dram,
            sram_rate=memory.sram_bytes_per_cycle,
            dram_rate=device.dram_bytes_per_cycle,
            sram_burst=blocks.sram_burst_bytes,
            dram_burst=blocks.dram_burst_bytes,
            piece=blocks.image_piece_bytes,
            brick=blocks.channel_brick,
            compression=memory.weight_compression,
        )

    def sram_cycles(self, traffic: Traffic) -> float:
        """Cycles that the SRAM's port is occupied."""
        return 0.0 if self.sram_rate is None else traffic.sram_busy_bytes / self.sram_rate

    def dram_cycles(self, traffic: Traffic) -> float:
        """Cycles that the DRAM's port is occupied."""
        return 0.0 if self.dram_rate is None else traffic.dram_busy_bytes / self.dram_rate

    def _pinned(self, job: Job) -> float:
        """The part of a layer's weights that stays in the SRAM."""
        return self.held.pinned_bytes.get(job.name, 0) / job.weight_bytes if job.weight_bytes else 0.0

    def traffic(self, job: Job, operator: Operator) -> Traffic:
        """What one operator moves, once."""
        sram_busy = dram_busy = 0.0
        sram_read = sram_write = dram_read = dram_write = staged = 0
        for access, writes in (*((read, False) for read in operator.reads), (operator.write, True)):
            moved, in_sram, in_dram = self._place(access)
            if in_sram:
                sram_busy += self._busy(access, self.sram_burst)
                sram_write, sram_read = sram_write + moved * writes, sram_read + moved * (not writes)
            if in_dram:
                dram_busy += self._busy(access, self.dram_burst)
                dram_write, dram_read = dram_write + moved * writes, dram_read + moved * (not writes)
                # What is written leaves by way of the SRAM; an image is read past it.
                staged += moved * (writes or in_sram)
        weights = ceil(operator.weights * self.compression * (1 - self._pinned(job)))
        reads = ceil(operator.weight_reads * self.compression)
        fetched = weights + operator.channel_bytes
        return Traffic(
            sram_busy_bytes=sram_busy + reads,
            dram_busy_bytes=dram_busy + fetched,
            weight_bytes=fetched,
            sram_read_bytes=sram_read + reads,
            sram_write_bytes=sram_write,
            dram_read_bytes=dram_read + fetched,
            dram_write_bytes=dram_write,
            staged_bytes=staged + (weights if operator.weight_reads else 0),
        )

    def _place(self, access: Access) -> tuple[int, bool, bool]:
        """Real bytes, and whether they pass the SRAM's and the DRAM's port."""
        positions = access.positions if access.moved_positions is None else access.moved_positions
        if access.tensor in self.dense:
            return positions * access.channels, not self.dense_in_dram, self.dense_in_dram
        spilled = access.tensor is not None and access.tensor not in self.held.offsets
        return positions * round_up(access.channels, self.brick), True, spilled

    def _busy(self, access: Access, burst: int) -> float:
        """Bytes that a port is occupied for. A dense pixel is read or written piece by piece, each a whole burst."""
        if access.tensor in self.dense:
            size = access.positions * access.channels
            return size * burst / min(burst, round_up(access.channels, self.piece))
        return access.positions * round_up(access.channels, self.brick)


def movement(operators: Sequence[Operator], traffics: Sequence[Traffic]) -> Movement:
    """The counts of a layer, for the energy model: real bytes, and whole bricks where tensors lie in bricks.

    What the array computes counts as the array's, what goes element by element as the vector unit's.
    """
    pairs = tuple(zip(operators, traffics, strict=True))

    def total(name: str, of_array: bool | None = None) -> int:
        chosen = (pair for pair in pairs if of_array is None or (pair[0].array_cycles > 0) == of_array)
        return sum(operator.repeats * int(getattr(traffic, name)) for operator, traffic in chosen)

    read, written = total("dram_read_bytes"), total("dram_write_bytes")
    return Movement(
        macs=sum(operator.repeats * operator.macs for operator in operators),
        vector_operations=sum(operator.repeats * operator.vector_operations for operator in operators),
        array_sram_read_bytes=total("sram_read_bytes", True),
        array_sram_write_bytes=total("sram_write_bytes", True),
        vector_sram_read_bytes=total("sram_read_bytes", False),
        vector_sram_write_bytes=total("sram_write_bytes", False),
        dma_sram_bytes=total("staged_bytes"),
        dram_read_bytes=read,
        dram_write_bytes=written,
        accumulator_bytes=sum(operator.repeats * operator.accumulator_bytes for operator in operators),
    )
