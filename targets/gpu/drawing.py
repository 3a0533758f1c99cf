"""A drawing of a GPU in text: its compute units, what a work-group gets, its cache and memory, all from data."""

from mnv3c.targets.boxes import WIDTH, box, chained, link, side_by_side
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.units import format_bytes, format_bytes_per_s, format_hertz

_INNER = WIDTH - 8


def draw(device: GpuDevice) -> str:
    """Draw the device with box-drawing characters, 72 columns wide, without a line break at the end."""
    memory = device.memory
    lines = [
        f"{device.name}: {device.title}",
        *box(f"{_units(device)}, {format_hertz(device.clock_hz)}", _unit(device), WIDTH),
        *chained(
            [
                f"cache {format_bytes(memory.cache_bytes)}",
                f"memory {format_bytes_per_s(memory.bandwidth_bytes_per_s)}, shared with the CPU",
            ]
        ),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _units(device: GpuDevice) -> str:
    count = device.cores.compute_units
    return f"{count} compute unit{'s' if count > 1 else ''} of {device.cores.alus_per_unit} ALUs"


def _unit(device: GpuDevice) -> list[str]:
    cores, limits = device.cores, device.opencl
    halves = f"halves at {cores.fp16_rate} times the rate" if limits.fp16 else "no arithmetic in halves"
    registers = f"{cores.registers_per_unit} registers a unit, at most {cores.registers_per_item} a work item"
    return [
        *side_by_side(cores.compute_units, f"{cores.alus_per_unit} FMA"),
        f"waves of {cores.wave_items} work items; {halves}",
        f"peak {device.peak_flops / 1e9:.1f} GFLOP/s in fp32",
        link(),
        *box("", [registers, _group(device)], _INNER),
    ]


def _group(device: GpuDevice) -> str:
    limits = device.opencl
    shared = format_bytes(limits.local_memory_bytes)
    return f"work-groups of up to {limits.work_group_items} with {shared} of local memory"
