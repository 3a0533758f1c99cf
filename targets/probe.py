"""What Linux says about the machine at hand: /proc/cpuinfo and the cache, topology and clock files of /sys."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mnv3c.graph.errors import MissingError
from mnv3c.targets.units import SIZES

_SYSFS_SIZES: Mapping[str, str] = {"K": "KiB", "M": "MiB", "G": "GiB"}


@dataclass(frozen=True)
class CacheLevel:
    """One data or unified cache of a core, as sysfs lists it."""

    level: int
    size_bytes: int
    line_bytes: int | None
    shared_cpus: frozenset[int]


@dataclass(frozen=True)
class HostProbe:
    """Reads the processors `cpus` under the file system `root`; a file that is not there is reported as None."""

    root: Path
    cpus: frozenset[int]

    def processors(self) -> tuple[Mapping[str, str], ...]:
        """The `key : value` lines of /proc/cpuinfo for each processor in `cpus`, by number.

        Raises MissingError where /proc/cpuinfo cannot be read or lists none of them.
        """
        path = self.root / "proc/cpuinfo"
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise MissingError(
                f"the host cannot be detected: {path}: {error.strerror}; detection needs Linux, so name a device"
            ) from None
        blocks = [dict(_fields(block)) for block in re.split(r"\n\s*\n", text)]
        mine = [
            block for block in blocks if block.get("processor", "").isdecimal() and int(block["processor"]) in self.cpus
        ]
        if not mine:
            raise MissingError(f"the host cannot be detected: {path} lists no usable processor; name a device instead")
        return tuple(sorted(mine, key=lambda block: int(block["processor"])))

    def data_caches(self, cpu: int) -> dict[int, CacheLevel]:
        """The data and unified caches of one processor by level; empty where sysfs shows none."""
        folders = sorted(self._cpu_folder(cpu).glob("cache/index*"))
        levels = (_cache_level(folder) for folder in folders)
        return {level.level: level for level in levels if level is not None}

    def siblings(self, cpu: int) -> frozenset[int]:
        """The hardware threads of one processor's core; the processor alone where sysfs does not say."""
        text = _read(self._cpu_folder(cpu) / "topology/thread_siblings_list")
        return frozenset(_cpu_list(text or "")) | {cpu}

    def core_count(self, cpus: frozenset[int]) -> int:
        """Number of physical cores behind some processors."""
        return len({self.siblings(cpu) for cpu in cpus})

    def scaling_hz(self, cpu: int, bound: str) -> int | None:
        """The `min` or `max` clock of the frequency driver in Hz, or None where there is no driver."""
        text = _read(self._cpu_folder(cpu) / f"cpufreq/cpuinfo_{bound}_freq")
        return int(text) * 1000 if text and text.isdecimal() else None

    def _cpu_folder(self, cpu: int) -> Path:
        return self.root / f"sys/devices/system/cpu/cpu{cpu}"


def usable_cpus() -> frozenset[int]:
    """The processors that this process may run on. Raises MissingError where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        raise MissingError("the host cannot be detected: detection needs Linux, so name a device")
    return frozenset(os.sched_getaffinity(0))


def _fields(block: str) -> list[tuple[str, str]]:
    parts = (line.partition(":") for line in block.splitlines())
    return [(key.strip(), value.strip()) for key, colon, value in parts if colon]


def _cache_level(folder: Path) -> CacheLevel | None:
    level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
    found = re.fullmatch(r"([0-9]+)([KMG])", size or "")
    if level is None or not level.isdecimal() or kind not in ("Data", "Unified") or found is None or int(found[1]) == 0:
        return None
    line = _read(folder / "coherency_line_size")
    return CacheLevel(
        level=int(level),
        size_bytes=int(found[1]) * SIZES[_SYSFS_SIZES[found[2]]],
        line_bytes=int(line) if line and line.isdecimal() and int(line) > 0 else None,
        shared_cpus=frozenset(_cpu_list(_read(folder / "shared_cpu_list") or "")),
    )


def _cpu_list(text: str) -> list[int]:
    """Expand the kernel's list format: `0-2,5` is 0, 1, 2, 5."""
    numbers: list[int] = []
    for first, last in re.findall(r"([0-9]+)(?:-([0-9]+))?", text):
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
