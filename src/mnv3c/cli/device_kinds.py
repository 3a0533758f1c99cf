"""What `mnv3c targets` says of each kind of device: the columns of its table, its derived numbers, its drawing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mnv3c.targets.device import CpuDevice, Device
from mnv3c.targets.drawing import draw as draw_cpu
from mnv3c.targets.edgetpu.device import AcceleratorDevice, SystolicArray
from mnv3c.targets.edgetpu.drawing import STATIONARY, shape
from mnv3c.targets.edgetpu.drawing import draw as draw_accelerator
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.drawing import draw as draw_gpu
from mnv3c.targets.units import format_bytes, format_bytes_per_s, format_hertz


@dataclass(frozen=True)
class DeviceKind:
    """One kind: `columns` are headers with how to align them, `row` and `facts` are of one device."""

    model: type[Device]
    columns: tuple[tuple[str, str], ...]
    row: Callable[[Any], tuple[str, ...]]
    facts: Callable[[Any], dict[str, object]]
    draw: Callable[[Any], str]
    note: str


def kind_of(device: Device) -> DeviceKind:
    """How devices of this one's kind are shown."""
    return next(kind for kind in KINDS if isinstance(device, kind.model))


def _cpu_row(device: CpuDevice) -> tuple[str, ...]:
    l3_bytes = device.cache.l3_bytes
    return (
        str(device.cores),
        str(device.vector.bits),
        str(device.vector.registers),
        str(device.vector.fma_pipes),
        f"{device.peak_flops / 1e9:.1f}",
        format_bytes(device.cache.l1d_bytes),
        format_bytes(device.cache.l2_bytes),
        "-" if l3_bytes is None else format_bytes(l3_bytes),
    )


def _cpu_facts(device: CpuDevice) -> dict[str, object]:
    return {"llvm_cpu": device.llvm.cpu, "peak_gflops_per_core": device.peak_flops / 1e9}


def _accelerator_row(device: AcceleratorDevice) -> tuple[str, ...]:
    array, memory = device.array, device.memory
    return (
        shape(array),
        STATIONARY[array.dataflow] if isinstance(array, SystolicArray) else "outputs stay",
        format_hertz(device.clock_hz),
        "no limit" if memory.sram_bytes is None else format_bytes(memory.sram_bytes),
        "no limit" if memory.dram_bytes_per_s is None else format_bytes_per_s(memory.dram_bytes_per_s),
        f"{device.peak_ops / 1e12:.3g}",
    )


def _accelerator_facts(device: AcceleratorDevice) -> dict[str, object]:
    return {"macs_per_cycle": device.array.macs_per_cycle, "peak_tops": device.peak_ops / 1e12}


def _gpu_row(device: GpuDevice) -> tuple[str, ...]:
    cores, limits = device.cores, device.opencl
    return (
        f"{cores.compute_units} x {cores.alus_per_unit}",
        format_hertz(device.clock_hz),
        str(cores.wave_items),
        str(limits.work_group_items),
        format_bytes(limits.local_memory_bytes),
        format_bytes_per_s(device.memory.bandwidth_bytes_per_s),
        f"{device.peak_flops / 1e9:.0f}",
    )


def _gpu_facts(device: GpuDevice) -> dict[str, object]:
    return {"peak_gflops": device.peak_flops / 1e9}


KINDS = (
    DeviceKind(
        CpuDevice,
        (
            ("cores", "left"),
            *((header, "right") for header in ("bits", "regs", "FMA", "GFLOP/s", "L1d", "L2", "L3")),
        ),
        _cpu_row,
        _cpu_facts,
        draw_cpu,
        "GFLOP/s: fp32 peak of one core.",
    ),
    DeviceKind(
        AcceleratorDevice,
        (("array", "left"), ("dataflow", "left"), *((key, "right") for key in ("clock", "SRAM", "DRAM", "TOPS"))),
        _accelerator_row,
        _accelerator_facts,
        draw_accelerator,
        "TOPS: int8 peak of the array. These are for mnv3c emulate.",
    ),
    DeviceKind(
        GpuDevice,
        (
            ("units x ALUs", "left"),
            *((key, "right") for key in ("clock", "wave", "group", "local", "memory", "GFLOP/s")),
        ),
        _gpu_row,
        _gpu_facts,
        draw_gpu,
        "GFLOP/s: fp32 peak of the GPU.",
    ),
)
