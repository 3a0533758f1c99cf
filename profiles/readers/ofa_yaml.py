"""Once-for-all's look-up tables of MobileNetV3, `RESOLUTION_lookup_table.yaml` (MIT): a phone's CPU, TFLite, fp32."""

from pathlib import Path

from mnv3c.profiles.readers.lookup_yaml import read_lookup_table
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin
from mnv3c.profiles.record import Record


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The records of a once-for-all table. Raises UserError naming file, key and value."""
    return read_lookup_table(path, "once-for-all", stated)
