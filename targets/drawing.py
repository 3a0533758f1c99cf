"""A drawing of a CPU in text: pipes, registers, caches and memory with their numbers, all from the device's data."""

from mnv3c.targets.boxes import WIDTH, box, chained, link, side_by_side
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.units import format_bytes, format_bytes_per_s, format_hertz


def draw(device: CpuDevice) -> str:
    """Draw the device with box-drawing characters, 72 columns wide, without a line break at the end."""
    outer_l2 = _level("L2", device.cache.l2_bytes, "shared") if device.cache.l2_shared else []
    l3 = _level("L3", device.cache.l3_bytes, "shared") if device.cache.l3_bytes is not None else []
    lines = [
        f"{device.name}: {device.title}",
        *box(f"{device.cores} x {device.llvm.cpu}, {_clock(device)}", _core(device), WIDTH),
        *chained([*outer_l2, *l3, f"memory {format_bytes_per_s(device.memory.bandwidth_bytes_per_s)}"]),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _clock(device: CpuDevice) -> str:
    slowest, fastest = format_hertz(device.clock_hz.min), format_hertz(device.clock_hz.max)
    return fastest if slowest == fastest else f"{slowest} to {fastest}"


def _core(device: CpuDevice) -> list[str]:
    vector, cache = device.vector, device.cache
    lanes = device.lanes(32)
    inner_l2 = [] if cache.l2_shared else _level("L2", cache.l2_bytes, "of each core")
    return [
        *side_by_side(vector.fma_pipes, f"{vector.bits}-bit FMA"),
        f"{lanes} fp32 lane{'s' if lanes > 1 else ''} a pipe, {vector.fma_latency_cycles} cycles; {_extras(device)}",
        f"peak {device.peak_flops / 1e9:.1f} GFLOP/s a core in fp32",
        link(),
        *box("", [f"{vector.registers} vector registers of {vector.bits} bits ({_file_size(device)})"], WIDTH - 8),
        link(f"▲ {vector.load_bytes_per_cycle} B/cycle", f"▼ {vector.store_bytes_per_cycle} B/cycle"),
        *box("", [f"L1 data {format_bytes(cache.l1d_bytes)}, lines of {cache.line_bytes} B"], WIDTH - 8),
        *(line for part in inner_l2 for line in (link(), *box("", [part], WIDTH - 8))),
    ]


def _extras(device: CpuDevice) -> str:
    fp16 = f"fp16 in {device.lanes(16)} lanes" if device.vector.fp16 else "no fp16"
    return f"{fp16}, {'int8 dot product' if device.vector.dot_product else 'no int8 dot product'}"


def _file_size(device: CpuDevice) -> str:
    return format_bytes(device.vector.registers * device.vector.bits // 8)


def _level(name: str, size_bytes: int | None, whose: str) -> list[str]:
    return [] if size_bytes is None else [f"{name} {format_bytes(size_bytes)}, {whose}"]
