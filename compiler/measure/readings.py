"""What a Linux system shows of its clocks, governors, temperatures and load, as far as it lets us read them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_READING = "@reading"
_CPU, _ZONE = "/sys/devices/system/cpu", "/sys/class/thermal"
# A reading is one line: @reading FILE VALUE.
READINGS_SCRIPT = f"""for f in {_CPU}/cpu[0-9]*/cpufreq/scaling_governor {_CPU}/cpu[0-9]*/cpufreq/scaling_cur_freq \\
    {_ZONE}/thermal_zone*/type {_ZONE}/thermal_zone*/temp /proc/loadavg
do v=$(cat "$f" 2>/dev/null) && echo "{_READING} $f $v"
done
"""
_MILLI = 1e-3
# Zones that are not there say so by absurd temperatures.
_CREDIBLE_C = (-40.0, 150.0)


@dataclass(frozen=True)
class Readings:
    """Governors of the CPUs, each once; their clocks; temperature by thermal zone; load. Empty or None: not shown."""

    governors: tuple[str, ...] = ()
    clocks_hz: tuple[float, ...] = ()
    temperatures_c: tuple[tuple[str, float], ...] = ()
    load: float | None = None

    @property
    def text(self) -> str:
        """What is known, for a record."""
        parts = ["governor " + "/".join(self.governors)] if self.governors else []
        if self.clocks_hz:
            parts.append(f"clock {min(self.clocks_hz) / 1e6:.0f}-{max(self.clocks_hz) / 1e6:.0f} MHz")
        if self.temperatures_c:
            zone, hottest = max(self.temperatures_c, key=lambda pair: pair[1])
            parts.append(f"hottest {zone} {hottest:.0f} C")
        if self.load is not None:
            parts.append(f"load {self.load:.2f}")
        return ", ".join(parts) if parts else "no clock, governor or temperature shown"


def parse_readings(lines: Iterable[str]) -> Readings:
    """What the lines of `READINGS_SCRIPT` say; others are passed over."""
    values: dict[str, str] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == _READING:
            path, _, value = rest.partition(" ")
            values[path] = value.strip()
    governors = sorted({value for path, value in values.items() if path.endswith("/scaling_governor")})
    clocks = (_number(value) for path, value in values.items() if path.endswith("/scaling_cur_freq"))
    loads = values.get("/proc/loadavg", "").split()
    return Readings(
        tuple(governors),
        tuple(kilohertz * 1e3 for kilohertz in clocks if kilohertz),
        _temperatures(values),
        _number(loads[0]) if loads else None,
    )


def changed_clock(before: Readings, after: Readings, share: float = 0.05) -> bool:
    """Whether the fastest CPU's clock differs by more than `share`: throttled, or still speeding up."""
    if not before.clocks_hz or not after.clocks_hz:
        return False
    return abs(max(after.clocks_hz) - max(before.clocks_hz)) > share * max(before.clocks_hz)


def _temperatures(values: dict[str, str]) -> tuple[tuple[str, float], ...]:
    found = []
    for path, value in values.items():
        zone = re.fullmatch(rf"{_ZONE}/(thermal_zone\d+)/temp", path)
        milli_c = _number(value)
        if zone and milli_c is not None and _CREDIBLE_C[0] < milli_c * _MILLI < _CREDIBLE_C[1]:
            name = values.get(f"{_ZONE}/{zone[1]}/type") or zone[1]
            found.append((f"{zone[1]} ({name})", milli_c * _MILLI))
    return tuple(found)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
