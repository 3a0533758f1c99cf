"""The machine at hand as a device: /proc/cpuinfo chooses the core, /sys gives its caches, assumptions say so."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mnv3c.targets.device import HOST_TITLE, CpuDevice, device_from_document
from mnv3c.targets.probe import CacheLevel, HostProbe
from mnv3c.targets.units import FREQUENCIES

MACHINES = ("x86_64", "AMD64")

_V2 = frozenset({"cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"})
_HASWELL = _V2 | {"abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_SKYLAKE = _HASWELL | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
_CASCADELAKE = _SKYLAKE | {"avx512_vnni"}
_ICELAKE = _CASCADELAKE | {"avx512_bitalg", "avx512_vbmi2", "avx512_vpopcntdq", "avx512ifma", "avx512vbmi", "gfni"}
# 16 x 16 sums of 32 products in 16 cycles (measured: 5.2 ns at 3.1 GHz).
_AMX_BF16_MACS = 512
_AMX_SOURCE = "assumption: TDPBF16PS, 16 x 16 sums of 32 products, every 16 cycles; cpuinfo: flag amx_bf16"
_SAPPHIRE = _ICELAKE | {"amx_bf16", "amx_int8", "amx_tile", "avx512_bf16", "avx512_fp16", "avx_vnni"}


@dataclass(frozen=True)
class _Core:
    """A kind of x86 core that LLVM knows, and the flags of /proc/cpuinfo without which its code may not run."""

    llvm_cpu: str
    flags: frozenset[str]
    bits: int
    registers: int
    fma_pipes: int
    fma_latency_cycles: int
    load_bytes_per_cycle: int
    store_bytes_per_cycle: int
    like: str


# From most to least capable: the first whose flags are all there is taken. Port counts and latencies are those of
# Intel's optimization manual for the core named in `like`; without FMA, a multiply and an add (5 + 3 cycles) stand for
# one.
_CORES = (
    _Core("sapphirerapids", _SAPPHIRE, 512, 32, 2, 4, 128, 64, "Sapphire Rapids"),
    _Core("icelake-server", _ICELAKE, 512, 32, 2, 4, 128, 64, "Ice Lake Server"),
    _Core("cascadelake", _CASCADELAKE, 512, 32, 2, 4, 128, 64, "Cascade Lake"),
    _Core("skylake-avx512", _SKYLAKE, 512, 32, 2, 4, 128, 64, "Skylake-SP"),
    _Core("haswell", _HASWELL, 256, 16, 2, 5, 64, 32, "Haswell"),
    _Core("x86-64-v2", _V2, 128, 16, 1, 8, 16, 16, "Nehalem"),
    _Core("x86-64", frozenset(), 128, 16, 1, 8, 16, 16, "the first 64-bit cores"),
)
_ZEN4_FAMILY = "25"

_REFERENCES = {
    "cpuinfo": "/proc/cpuinfo of this machine",
    "sysfs": "/sys/devices/system/cpu of this machine",
    "affinity": "the processors this process may run on",
}


def detect_host(probe: HostProbe, devices: tuple[CpuDevice, ...]) -> CpuDevice:
    """Describe the machine as the device `host`. `devices`, those with files, are not needed on x86.

    Raises MissingError where /proc/cpuinfo cannot be read.
    """
    first = probe.processors()[0]
    flags = frozenset(first.get("flags", "").split())
    core = next(core for core in _CORES if core.flags <= flags)
    model = first.get("model name", "unnamed processor")
    document: dict[str, object] = {
        "name": "host",
        "target": "x86_64",
        "title": f"{HOST_TITLE}{' '.join(model.split())[:200]}",
        "references": _REFERENCES,
        "llvm": {"cpu": core.llvm_cpu, "features": _extra_features(core, flags)},
        "cores": _sourced(probe.core_count(probe.cpus), "affinity: physical cores among them"),
        "clock_hz": _clocks(probe, first),
        "vector": _vector(core, first, flags),
        "cache": _caches(probe, int(first["processor"])),
        "memory": {"bandwidth_bytes_per_s": _sourced(20 * 10**9, "assumption: one channel of DDR4-2666; measure it")},
    }
    return device_from_document(document, "the detected host")


def _sourced(value: object, source: str) -> dict[str, object]:
    return {"value": value, "source": source}


def _extra_features(core: _Core, flags: frozenset[str]) -> list[str]:
    """Client cores have the 256-bit dot product without AVX-512, which no LLVM core of the list above has."""
    return ["+avxvnni"] if core.llvm_cpu == "haswell" and "avx_vnni" in flags else []


def _vector(core: _Core, first: Mapping[str, str], flags: frozenset[str]) -> dict[str, object]:
    guess = f"assumption: as in {core.like}, the LLVM core whose flags this one has"
    # Zen 4 runs each 512-bit operation in two halves of 256 bits.
    halved = core.bits == 512 and first.get("vendor_id") == "AuthenticAMD" and first.get("cpu family") == _ZEN4_FAMILY
    share = 2 if halved else 1
    how = "assumption: Zen 4 runs 512-bit operations in two halves" if halved else guess
    dots = sorted(flags & {"avx512_vnni", "avx_vnni"})
    tiles = "amx_bf16" in flags and core.llvm_cpu == "sapphirerapids"
    return {
        "bits": _sourced(core.bits, f"cpuinfo: the flags of {core.llvm_cpu}"),
        "registers": _sourced(core.registers, f"cpuinfo: the flags of {core.llvm_cpu}"),
        "fma_pipes": _sourced(core.fma_pipes // share, how),
        "fma_latency_cycles": _sourced(core.fma_latency_cycles, guess),
        "load_bytes_per_cycle": _sourced(core.load_bytes_per_cycle // share, how),
        "store_bytes_per_cycle": _sourced(core.store_bytes_per_cycle // share, how),
        "fp16": _sourced("avx512_fp16" in flags, "cpuinfo: flag avx512_fp16"),
        "dot_product": _sourced(bool(dots), f"cpuinfo: {', '.join(dots) or 'no VNNI flag'}"),
        **({"tile_bf16_macs": _sourced(_AMX_BF16_MACS, _AMX_SOURCE)} if tiles else {}),
    }


def _clocks(probe: HostProbe, first: Mapping[str, str]) -> dict[str, object]:
    cpu = int(first["processor"])
    fastest = probe.scaling_hz(cpu, "max")
    if fastest is not None:
        slowest = probe.scaling_hz(cpu, "min") or fastest
        source = "sysfs: cpufreq/cpuinfo_{}_freq"
        return {
            "min": _sourced(min(slowest, fastest), source.format("min")),
            "max": _sourced(fastest, source.format("max")),
        }
    only = _reported_clock(first)
    return {"min": only, "max": only}


def _reported_clock(first: Mapping[str, str]) -> dict[str, object]:
    named = re.search(r"@ ([0-9.]+)GHz", first.get("model name", ""))
    if named and re.fullmatch(r"[0-9]\.[0-9]+", named[1]):
        return _sourced(round(float(named[1]) * FREQUENCIES["GHz"]), "cpuinfo: base clock in the model's name")
    current = first.get("cpu MHz", "")
    if re.fullmatch(r"[0-9]{2,5}(\.[0-9]+)?", current):
        # Whole steps of 100 MHz, so that the device and its fingerprint stay the same from run to run.
        steps = max(1, round(float(current) / 100))
        return _sourced(steps * 100 * FREQUENCIES["MHz"], "cpuinfo: cpu MHz, no frequency driver; turbo may be faster")
    return _sourced(2 * FREQUENCIES["GHz"], "assumption: the machine does not tell its clock")


def _caches(probe: HostProbe, cpu: int) -> dict[str, object]:
    levels = probe.data_caches(cpu)
    l1d_bytes, l2_bytes = 32 * 1024, 256 * 1024
    shared = bool(levels.get(2, _NO_CACHE).shared_cpus - probe.siblings(cpu))
    return {
        "l1d_bytes": _size(levels, 1, l1d_bytes),
        "l2_bytes": _size(levels, 2, max(l2_bytes, levels.get(1, _NO_CACHE).size_bytes)),
        "l2_shared": _sourced(shared, "sysfs: shared_cpu_list" if 2 in levels else "assumption: not shared"),
        "l3_bytes": _size(levels, 3, None),
        "line_bytes": _line(levels),
    }


_NO_CACHE = CacheLevel(level=0, size_bytes=0, line_bytes=None, shared_cpus=frozenset())


def _size(levels: Mapping[int, CacheLevel], level: int, otherwise_bytes: int | None) -> dict[str, object]:
    if level in levels:
        return _sourced(levels[level].size_bytes, f"sysfs: cache of level {level}")
    return _sourced(otherwise_bytes, f"assumption: sysfs lists no cache of level {level}")


def _line(levels: Mapping[int, CacheLevel]) -> dict[str, object]:
    lines = [levels[level].line_bytes for level in sorted(levels) if levels[level].line_bytes is not None]
    return _sourced(lines[0], "sysfs: coherency_line_size") if lines else _sourced(64, "assumption: as every x86 core")
