"""Quantities at the edge: text such as `64 KiB` or `2.4 GHz` becomes a plain integer in bytes, Hz or bytes/s, and back.

Plain integers pass through unchanged. Decimal kilobytes are refused for cache sizes, because data sheets use "KB" for
both 1000 and 1024 bytes.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

_QUANTITY = re.compile(r"(?P<number>[0-9]{1,15}(\.[0-9]{1,9})?) ?(?P<unit>[A-Za-z][A-Za-z/]*)", re.ASCII)

SIZES: Mapping[str, int] = MappingProxyType({"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30})
FREQUENCIES: Mapping[str, int] = MappingProxyType({"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9})
BANDWIDTHS: Mapping[str, int] = MappingProxyType(
    {"B/s": 1, "MB/s": 10**6, "GB/s": 10**9, "MiB/s": 2**20, "GiB/s": 2**30, "TB/s": 10**12}
)


def parse_bytes(value: object) -> object:
    """Convert `64 KiB` to 65536 bytes; anything that is not text passes unchanged. Raises ValueError."""
    return _parse(value, SIZES)


def parse_hertz(value: object) -> object:
    """Convert `2.4 GHz` to 2400000000 Hz; anything that is not text passes unchanged. Raises ValueError."""
    return _parse(value, FREQUENCIES)


def parse_bytes_per_s(value: object) -> object:
    """Convert `17.1 GB/s` to 17100000000 bytes/s; anything that is not text passes unchanged. Raises ValueError."""
    return _parse(value, BANDWIDTHS)


def format_bytes(size_bytes: int) -> str:
    """Write a size with the largest binary unit that keeps it exact: 65536 is `64 KiB`, 28835840 is `27.5 MiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        scaled = Decimal(size_bytes) / SIZES[unit]
        if scaled >= 1 and scaled * 2 == int(scaled * 2):
            return f"{_plain(scaled)} {unit}"
    return f"{size_bytes} B"


def format_hertz(frequency_hz: int) -> str:
    """Write a frequency exactly, in GHz from 1 GHz up and in MHz below: 600000000 is `600 MHz`."""
    unit = "GHz" if frequency_hz >= FREQUENCIES["GHz"] else "MHz"
    return f"{_plain(Decimal(frequency_hz) / FREQUENCIES[unit])} {unit}"


def format_bytes_per_s(bandwidth: int) -> str:
    """Write a bandwidth exactly, in GB/s from 1 GB/s up and in MB/s below."""
    unit = "GB/s" if bandwidth >= BANDWIDTHS["GB/s"] else "MB/s"
    return f"{_plain(Decimal(bandwidth) / BANDWIDTHS[unit])} {unit}"


def _parse(value: object, units: Mapping[str, int]) -> object:
    if not isinstance(value, str):
        return value
    found = _QUANTITY.fullmatch(value)
    if found is None or found["unit"] not in units:
        raise ValueError(f"must be an integer or a number with one of the units {', '.join(units)}")
    quantity = Decimal(found["number"]) * units[found["unit"]]
    if quantity != int(quantity):
        raise ValueError(f"must be a whole number of {next(iter(units))}")
    return int(quantity)


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
