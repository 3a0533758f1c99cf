"""Files of tuning records, the user's own and those that come with the package."""

import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import platformdirs

from mnv3c.compiler.tune.record import Record, RecordKey, decode, encode, newer
from mnv3c.profiles.jsonl_store import JsonlStore, LineFormat, write_lines
from mnv3c.targets.device import CpuDevice

_BEGINNING = f'{{"{min(Record.model_fields)}":'.encode()  # of every line: keys are sorted
_LINES = LineFormat(encode=encode, decode=decode, key=lambda record: record.key, newer=newer, beginning=_BEGINNING)


class RecordStore(JsonlStore[Record, RecordKey]):
    """The tuning records in one file; it need not exist. Raises UserError as `JsonlStore` does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _LINES)


def merge_records(stores: Iterable[Iterable[Record]]) -> tuple[Record, ...]:
    """All records, the newest of each key, sorted by key: the order and number of the stores make no difference."""
    merged: dict[RecordKey, Record] = {}
    for records in stores:
        for record in records:
            known = merged.get(record.key)
            merged[record.key] = newer(known, record) if known else record
    return tuple(merged[key] for key in sorted(merged))


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a file of records, whole or not at all. Raises MissingError where the disk refuses."""
    write_lines(path, map(encode, records))


def file_name(device: CpuDevice) -> str:
    """Name of the file of a device's records."""
    return f"{device.core_class}.jsonl"


def user_store_path(device: CpuDevice) -> Path:
    """Where the user's records of a device lie; MNV3C_DATA_DIR names another folder."""
    return user_records_folder() / file_name(device)


def user_records_folder() -> Path:
    """Where the files of the user's own records lie."""
    folder = os.environ.get("MNV3C_DATA_DIR") or platformdirs.user_data_dir("mnv3c")
    return Path(folder) / "tuned"


def shipped_path(device: CpuDevice) -> Path:
    """Where the records of a device lie that come with the package, if there are any."""
    folder = resources.files("mnv3c.profiles")
    assert isinstance(folder, Path)
    return folder / "tuned" / file_name(device)


def known_records(device: CpuDevice, user: Path | None = None) -> tuple[Record, ...]:
    """The shipped records of a device's class and the user's own. Raises UserError where a line is not a record."""
    paths = (shipped_path(device), user or user_store_path(device))
    return merge_records(RecordStore(path).records for path in paths)
