"""Between a CPU's device file and the physics of our own code on it."""

from mnv3c.graph.errors import UserError
from mnv3c.profiles.physics.base import Physics
from mnv3c.profiles.physics.compiled_cpu import CompiledCpuPhysics
from mnv3c.targets.cpu.kernel import sharing_cores
from mnv3c.targets.device import CpuDevice


def compiled_physics(device: CpuDevice, threads: int = 1) -> CompiledCpuPhysics:
    """The physics of a device's file, or of the detected host."""
    vector, cache = device.vector, device.cache
    return CompiledCpuPhysics(
        lanes=vector.bits // 32,
        registers=vector.registers,
        fma_pipes=vector.fma_pipes,
        fma_latency_cycles=vector.fma_latency_cycles,
        tile_bf16_macs=vector.tile_bf16_macs or 0,
        l1d_bytes=cache.l1d_bytes,
        l2_bytes=cache.l2_bytes,
        sharing_cores=sharing_cores(device),
        threads=threads,
    )


def measured_device(physics: Physics, device: CpuDevice) -> CpuDevice:
    """A device of the class that was measured, with the numbers of the very machine: as the compiler saw it there.

    Raises UserError for physics of anything but our own code.
    """
    if not isinstance(physics, CompiledCpuPhysics):
        raise UserError(f"physics '{physics.name}' is not of code that mnv3c compiles")
    vector = {
        "bits": 32 * physics.lanes,
        "registers": physics.registers,
        "fma_pipes": physics.fma_pipes,
        "fma_latency_cycles": physics.fma_latency_cycles,
        "tile_bf16_macs": physics.tile_bf16_macs or None,
    }
    cache = {"l1d_bytes": physics.l1d_bytes, "l2_bytes": physics.l2_bytes}
    return device.model_copy(
        update={
            "cores": physics.sharing_cores,
            "vector": device.vector.model_copy(update=vector),
            "cache": device.cache.model_copy(update=cache),
        }
    )
