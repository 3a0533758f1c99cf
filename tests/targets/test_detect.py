"""The host is described from /proc/cpuinfo and /sys alone: made-up file systems stand for machines."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.registry import detect_host, find_device, host_target

V2 = "fpu sse2 ssse3 cx16 sse4_1 sse4_2 popcnt"
HASWELL = f"{V2} avx avx2 fma bmi1 bmi2 f16c movbe abm"
SKYLAKE = f"{HASWELL} avx512f avx512dq avx512cd avx512bw avx512vl"
ICELAKE = f"{SKYLAKE} avx512_vnni avx512ifma avx512vbmi avx512_vbmi2 gfni avx512_bitalg avx512_vpopcntdq"
SAPPHIRE = f"{ICELAKE} avx_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def x86_machine(root: Path, flags: str, cpus: int = 2, fields: Mapping[str, str] = MappingProxyType({})) -> None:
    common = {"vendor_id": "GenuineIntel", "cpu family": "6", "model name": "Some CPU", "cpu MHz": "2600.000", **fields}
    lines = "".join(f"{key}\t: {value}\n" for key, value in common.items())
    write(root / "proc/cpuinfo", "\n".join(f"processor\t: {n}\n{lines}flags\t\t: {flags}\n" for n in range(cpus)))


def arm_machine(root: Path, parts: list[str], implementer: str = "0x41") -> None:
    blocks = [
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n"
        for number, part in enumerate(parts)
    ]
    write(root / "proc/cpuinfo", "\n".join(blocks))


def cache(root: Path, cpu: int, index: int, level: int, kind: str, size: str, shared: str) -> None:
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
    values = {"level": level, "type": kind, "size": size, "shared_cpu_list": shared, "coherency_line_size": 64}
    for name, value in values.items():
        write(folder / name, str(value))


def detected(root: Path, cpus: int = 2, machine: str = "x86_64") -> CpuDevice:
    return detect_host(root, machine=machine, cpus=frozenset(range(cpus)))


@pytest.mark.parametrize(
    ("flags", "llvm_cpu", "bits", "registers", "fma_pipes", "fp16", "dot_product"),
    [
        (SAPPHIRE, "sapphirerapids", 512, 32, 2, True, True),
        (ICELAKE, "icelake-server", 512, 32, 2, False, True),
        (f"{SKYLAKE} avx512_vnni", "cascadelake", 512, 32, 2, False, True),
        (SKYLAKE, "skylake-avx512", 512, 32, 2, False, False),
        (HASWELL, "haswell", 256, 16, 2, False, False),
        (V2, "x86-64-v2", 128, 16, 1, False, False),
        ("fpu sse2", "x86-64", 128, 16, 1, False, False),
    ],
)
def test_the_flags_choose_the_x86_core(
    tmp_path: Path,
    flags: str,
    llvm_cpu: str,
    bits: int,
    registers: int,
    fma_pipes: int,
    fp16: bool,
    dot_product: bool,
) -> None:
    x86_machine(tmp_path, flags)
    device = detected(tmp_path)
    assert (device.name, device.target, device.llvm.cpu) == ("host", "x86_64", llvm_cpu)
    assert (device.vector.bits, device.vector.registers, device.vector.fma_pipes) == (bits, registers, fma_pipes)
    assert (device.vector.fp16, device.vector.dot_product) == (fp16, dot_product)


@pytest.mark.parametrize("absent", ["avx512bw", "avx512vl", "avx512dq"])
def test_avx512_without_all_of_its_parts_is_not_used(tmp_path: Path, absent: str) -> None:
    x86_machine(tmp_path, SAPPHIRE.replace(f"{absent} ", "").removesuffix(absent))
    assert detected(tmp_path).llvm.cpu == "haswell"


def test_a_client_core_keeps_its_dot_product(tmp_path: Path) -> None:
    x86_machine(tmp_path, f"{HASWELL} avx_vnni")
    device = detected(tmp_path)
    assert (device.llvm.cpu, device.llvm.features, device.vector.dot_product) == ("haswell", ("+avxvnni",), True)


def test_zen_4_runs_512_bit_operations_in_halves(tmp_path: Path) -> None:
    x86_machine(tmp_path, ICELAKE, fields={"vendor_id": "AuthenticAMD", "cpu family": "25"})
    device = detected(tmp_path)
    assert (device.vector.bits, device.vector.fma_pipes, device.vector.load_bytes_per_cycle) == (512, 1, 64)
    assert "Zen 4" in device.source("vector.fma_pipes")


def test_caches_cores_and_clocks_come_from_sysfs(tmp_path: Path) -> None:
    x86_machine(tmp_path, HASWELL, cpus=4)
    for cpu in range(4):
        pair = "0-1" if cpu < 2 else "2-3"
        cache(tmp_path, cpu, 0, 1, "Data", "48K", pair)
        cache(tmp_path, cpu, 1, 1, "Instruction", "64K", pair)
        cache(tmp_path, cpu, 2, 2, "Unified", "2048K", pair)
        cache(tmp_path, cpu, 3, 3, "Unified", "30M", "0-3")
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}"
        write(folder / "topology/thread_siblings_list", pair)
        write(folder / "cpufreq/cpuinfo_min_freq", "800000")
        write(folder / "cpufreq/cpuinfo_max_freq", "4100000")
    device = detected(tmp_path, cpus=4)
    sizes = device.cache
    assert (sizes.l1d_bytes, sizes.l2_bytes, sizes.l3_bytes, sizes.line_bytes) == (48 << 10, 2 << 20, 30 << 20, 64)
    # Four hardware threads are two cores, and threads of one core do not make its L2 shared.
    assert device.cores == 2 and not sizes.l2_shared
    assert (device.clock_hz.min, device.clock_hz.max) == (800_000_000, 4_100_000_000)
    assert device.source("cache.l2_bytes") == "sysfs: cache of level 2"
    only_one_thread = detect_host(tmp_path, machine="x86_64", cpus=frozenset({3}))
    assert only_one_thread.cores == 1


def test_an_l2_of_several_cores_is_shared(tmp_path: Path) -> None:
    x86_machine(tmp_path, HASWELL)
    cache(tmp_path, 0, 0, 1, "Data", "32K", "0")
    cache(tmp_path, 0, 1, 2, "Unified", "2M", "0-1")
    assert detected(tmp_path).cache.l2_shared


def test_what_the_machine_does_not_tell_is_an_assumption(tmp_path: Path) -> None:
    x86_machine(tmp_path, HASWELL, fields={"cpu MHz": "unknown"})
    assumed = {quantity.key for quantity in detected(tmp_path).quantities() if quantity.is_assumption}
    assert {"clock_hz.max", "cache.l1d_bytes", "cache.l2_bytes", "memory.bandwidth_bytes_per_s"} <= assumed
    assert {"vector.bits", "vector.registers", "cores"}.isdisjoint(assumed)


@pytest.mark.parametrize(
    ("fields", "clock_hz"),
    [
        ({"model name": "Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", "cpu MHz": "3100.1"}, 2_400_000_000),
        ({"cpu MHz": "2593.906"}, 2_600_000_000),
        ({"cpu MHz": "2611.4"}, 2_600_000_000),
    ],
)
def test_without_a_frequency_driver_the_clock_is_steady(tmp_path: Path, fields: dict[str, str], clock_hz: int) -> None:
    x86_machine(tmp_path, HASWELL, fields=fields)
    assert detected(tmp_path).clock_hz.max == clock_hz


def test_an_arm_host_is_its_fastest_known_core(tmp_path: Path) -> None:
    arm_machine(tmp_path, ["0xd05", "0xd05", "0xd41", "0xd41", "0xd44"])
    device = detected(tmp_path, cpus=5, machine="aarch64")
    nearest = find_device("cortex-x1")
    assert (device.name, device.target, device.cores, device.llvm) == ("host", "arm64", 1, nearest.llvm)
    assert device.vector == nearest.vector and device.cache == nearest.cache
    # The affinity of the process decides which cores count.
    little = detect_host(tmp_path, machine="aarch64", cpus=frozenset({0, 1, 2}))
    assert (little.llvm.cpu, little.cores) == ("cortex-a78", 1)


def test_an_arm_host_takes_caches_and_clocks_from_sysfs(tmp_path: Path) -> None:
    arm_machine(tmp_path, ["0xd08"] * 4)
    cache(tmp_path, 0, 0, 1, "Data", "32K", "0")
    cache(tmp_path, 0, 2, 2, "Unified", "2048K", "0-3")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_min_freq", "600000")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1800000")
    device = detected(tmp_path, cpus=4, machine="aarch64")
    assert (device.cores, device.cache.l2_bytes, device.cache.l2_shared) == (4, 2 << 20, True)
    assert device.cache.l3_bytes is None and device.clock_hz.max == 1_800_000_000
    assert device.source("clock_hz.max").startswith("sysfs: ")


def test_an_unknown_arm_core_is_refused_with_what_to_do(tmp_path: Path) -> None:
    arm_machine(tmp_path, ["0x022"], implementer="0x61")
    with pytest.raises(MissingError, match=r"implementer 0x61 and part 0x022; name one of cortex-a53, .*device file"):
        detected(tmp_path, machine="aarch64")


def test_a_machine_without_a_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no target is made for the machine 's390x'"):
        detected(tmp_path, machine="s390x")


def test_a_system_without_cpuinfo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"proc/cpuinfo: No such file.*needs Linux"):
        detected(tmp_path)
    write(tmp_path / "proc/cpuinfo", "nothing here")
    with pytest.raises(MissingError, match="lists no usable processor"):
        detected(tmp_path)


def test_the_host_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(MissingError):
        find_device("host")
    monkeypatch.undo()
    device = find_device("host", host_target())
    assert device.name == "host" and device == find_device("host")
    with pytest.raises(UserError, match="device 'host' belongs to target"):
        find_device("host", "riscv64")
