"""Energy of what a layer moved and computed, and the area of a device: both sums over counts, with figures per access.

The method is that of accelerator studies since Eyeriss (Chen et al., ISCA 2016, section VI) and Accelergy (Wu et al.,
ICCAD 2019): counts of accesses per level times energy per access, plus leakage over the time. The figures themselves
come from the device's file, each with a source.
"""

import math

from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulation import Movement

LEVELS = ("mac", "accumulator", "sram", "dram", "vector", "leakage")
_PJ_PER_J = 1e12
_UM2_PER_MM2 = 1e6


def energy_pj(movement: Movement, cycles: int, device: AcceleratorDevice) -> dict[str, float]:
    """Energy in pJ by level, in the order of `LEVELS`.

    A byte that crosses between DRAM and SRAM costs both one access to the DRAM and one to the SRAM: a write where it is
    loaded, a read where it is stored.
    """
    energy, sram = device.energy, sram_factor(device)
    sram_read_bytes = movement.array_sram_read_bytes + movement.vector_sram_read_bytes + movement.dram_write_bytes
    sram_write_bytes = (
        movement.array_sram_write_bytes
        + movement.vector_sram_write_bytes
        + movement.dma_sram_bytes
        - movement.dram_write_bytes
    )
    return {
        "mac": movement.macs * energy.mac_pj,
        "accumulator": movement.accumulator_bytes * energy.accumulator_pj_per_byte,
        "sram": sram
        * (sram_read_bytes * energy.sram_read_pj_per_byte + sram_write_bytes * energy.sram_write_pj_per_byte),
        "dram": (movement.dram_read_bytes + movement.dram_write_bytes) * energy.dram_pj_per_byte,
        "vector": movement.vector_operations * energy.vector_pj,
        "leakage": energy.leakage_w * cycles / device.clock_hz * _PJ_PER_J,
    }


def sram_factor(device: AcceleratorDevice) -> float:
    """How much more an access costs than in the SRAM that the figures are of: see `Energy`."""
    reference, size = device.energy.sram_reference_bytes, device.memory.sram_bytes
    return math.sqrt(size / reference) if reference and size else 1.0


def area_mm2(device: AcceleratorDevice) -> float:
    """Area proxy in mm2: multipliers, SRAM, vector lanes and a fixed part; what is unlimited or costs nothing is free.

    A proxy to rank configurations by, not a floor plan: wires, control and pads are in the fixed part at best.
    """
    area = device.area
    square_um = (
        device.array.macs_per_cycle * area.mac_um2
        + (device.memory.sram_bytes or 0) * area.sram_um2_per_byte
        + ((device.vector.lanes or 0) + (device.vector.output_lanes or 0)) * area.lane_um2
    )
    return square_um / _UM2_PER_MM2 + area.fixed_mm2
