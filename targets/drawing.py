"""A drawing of a device in text: pipes, registers, caches and memory with their numbers, all from the device's data."""

from collections.abc import Sequence

from mnv3c.targets.device import CpuDevice
from mnv3c.targets.units import format_bytes, format_bytes_per_s, format_hertz

# The inside of the outermost box, in characters.
_WIDTH = 68
_PIPES_PER_ROW = 4


def draw(device: CpuDevice) -> str:
    """Draw the device with box-drawing characters, 72 columns wide, without a line break at the end."""
    outer_l2 = _level("L2", device.cache.l2_bytes, "shared") if device.cache.l2_shared else []
    l3 = _level("L3", device.cache.l3_bytes, "shared") if device.cache.l3_bytes is not None else []
    lines = [
        f"{device.name}: {device.title}",
        *_box(f"{device.cores} x {device.llvm.cpu}, {_clock(device)}", _core(device), _WIDTH),
        *_chained([*outer_l2, *l3, f"memory {format_bytes_per_s(device.memory.bandwidth_bytes_per_s)}"]),
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
        *_pipes(vector.fma_pipes, f"{vector.bits}-bit FMA"),
        f"{lanes} fp32 lane{'s' if lanes > 1 else ''} a pipe, {vector.fma_latency_cycles} cycles; {_extras(device)}",
        f"peak {device.peak_flops / 1e9:.1f} GFLOP/s a core in fp32",
        _link("", ""),
        *_box("", [f"{vector.registers} vector registers of {vector.bits} bits ({_file_size(device)})"], _WIDTH - 8),
        _link(f"▲ {vector.load_bytes_per_cycle} B/cycle", f"▼ {vector.store_bytes_per_cycle} B/cycle"),
        *_box("", [f"L1 data {format_bytes(cache.l1d_bytes)}, lines of {cache.line_bytes} B"], _WIDTH - 8),
        *(line for part in inner_l2 for line in (_link("", ""), *_box("", [part], _WIDTH - 8))),
    ]


def _extras(device: CpuDevice) -> str:
    fp16 = f"fp16 in {device.lanes(16)} lanes" if device.vector.fp16 else "no fp16"
    return f"{fp16}, {'int8 dot product' if device.vector.dot_product else 'no int8 dot product'}"


def _file_size(device: CpuDevice) -> str:
    return format_bytes(device.vector.registers * device.vector.bits // 8)


def _level(name: str, size_bytes: int | None, whose: str) -> list[str]:
    return [] if size_bytes is None else [f"{name} {format_bytes(size_bytes)}, {whose}"]


def _pipes(count: int, label: str) -> list[str]:
    rows: list[str] = []
    for start in range(0, count, _PIPES_PER_ROW):
        boxes = [_box("", [label], len(label) + 2) for _ in range(min(_PIPES_PER_ROW, count - start))]
        rows.extend(" ".join(parts) for parts in zip(*boxes, strict=True))
    return rows


def _link(left: str, right: str) -> str:
    return f"      │ {left:<20}│ {right}"


def _chained(parts: Sequence[str]) -> list[str]:
    return [line for part in parts for line in (_link("", ""), *_box("", [part], _WIDTH))]


def _box(title: str, content: Sequence[str], width: int) -> list[str]:
    """Frame lines in a box `width` characters wide inside; lines that are too long are cut with an ellipsis."""
    head = f"─ {_fit(title, width - 4)} " if title else ""
    body = [f"│ {_fit(line, width - 2):<{width - 2}} │" for line in content]
    return [f"┌{head:─<{width}}┐", *body, f"└{'─' * width}┘"]


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
