"""What a launch makes a GPU do, as terms: milliseconds at nominal rates, which its device file states.

    alu       multiply-adds, at one a lane of the ALUs and clock (halves: at the rate of halves)
    cache     bytes that work items load and store, caches or not, at one a lane and clock
    memory    bytes that have to move, each once, at the bandwidth of the memory
    waits     loads that a work item waits for, one after another, at 100 clocks each
    groups    work-groups, which each compute unit is handed one after another, at 100 clocks each
    start     what any launch takes, 5 us

Lanes work in whole waves and in rounds over all compute units: a last round takes as long as a full one. Waits overlap
as far as registers let waves stay: all waves at once wait for no longer than one does. The terms add up: kernels of the
measured GPUs follow their sum more closely than their maximum or the root of the sum of their squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnv3c.profiles.physics.base import Floats
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.features import FREE_REGISTERS, KernelFeatures
from mnv3c.targets.gpu.precision import Float

TERMS = ("alu", "cache", "memory", "waits", "groups", "start")
_WAIT_CLOCKS = 100
_GROUP_CLOCKS = 100
_START_S = 5e-6
_MS_PER_S = 1e3


@dataclass(frozen=True)
class Launches:
    """Columns (launches,). `multiply_adds`, `cache_bytes`, `waits` and `registers` are those of one work item."""

    work_items: Floats
    work_groups: Floats
    multiply_adds: Floats
    cache_bytes: Floats
    memory_bytes: Floats
    waits: Floats
    registers: Floats

    @staticmethod
    def of(kernels: Sequence[KernelFeatures]) -> "Launches":
        """What was counted in the text of kernels."""
        rows = [
            (
                k.work_items,
                k.work_groups,
                k.operations / 2 / k.work_items,
                (k.load_bytes + k.store_bytes) / k.work_items,
                k.argument_bytes,
                k.waits,
                k.registers,
            )
            for k in kernels
        ]
        return Launches(*np.array(rows, np.float64).reshape(-1, 7).T)


def terms_ms(launches: Launches, device: GpuDevice, arithmetic: Float) -> Floats:
    """(launches, terms) milliseconds that each of `TERMS` takes at nominal rates."""
    cores, clock_hz = device.cores, device.clock_hz
    waves = np.ceil(launches.work_items / cores.wave_items)
    at_once = cores.compute_units * max(1, cores.alus_per_unit // cores.wave_items)
    # A wave that is wider than the ALUs takes several clocks an instruction.
    rounds = np.ceil(waves / at_once) * max(1.0, cores.wave_items / cores.alus_per_unit)
    rate = cores.fp16_rate if arithmetic == "fp16" else 1
    staying = cores.registers_per_unit // np.maximum(launches.registers, FREE_REGISTERS) // cores.wave_items
    wait_rounds = np.ceil(waves / (cores.compute_units * np.maximum(1, staying)))
    group_rounds = np.ceil(launches.work_groups / cores.compute_units)
    seconds = {
        "alu": rounds * launches.multiply_adds / (rate * clock_hz),
        "cache": rounds * launches.cache_bytes / clock_hz,
        "memory": launches.memory_bytes / device.memory.bandwidth_bytes_per_s,
        "waits": wait_rounds * launches.waits * _WAIT_CLOCKS / clock_hz,
        "groups": group_rounds * _GROUP_CLOCKS / clock_hz,
        "start": np.full_like(waves, _START_S),
    }
    return np.stack([seconds[name] for name in TERMS], 1) * _MS_PER_S
