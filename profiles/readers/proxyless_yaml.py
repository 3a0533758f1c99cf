"""ProxylessNAS's look-up tables, such as `mobile_trim.yaml` (MIT): TFLite on a phone's CPU, fp32."""

from pathlib import Path

from mnv3c.profiles.readers.lookup_yaml import read_lookup_table
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin
from mnv3c.profiles.record import Record


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The records of a ProxylessNAS table. Raises UserError naming file, key and value."""
    return read_lookup_table(path, "proxylessnas", stated)
