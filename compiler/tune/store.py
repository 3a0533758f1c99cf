"""Files of records: JSON lines to which several processes may append, and which no kill can spoil.

A record counts once its line ends. Who appends holds the file's lock, first takes away a torn last line that a killed
process has left, reads what others have added meanwhile, and writes its line in one call.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import platformdirs

from mnv3c.compiler.tune.record import Record, RecordKey, decode, encode, newer
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.targets.device import CpuDevice

_READ_BYTES = 1 << 20
_BEGINNING = f'{{"{min(Record.model_fields)}":'.encode()  # of every line: keys are sorted


class RecordStore:
    """The records in one file; it need not exist.

    Raises UserError where a line is not a record, and where the path is not that of a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records: dict[RecordKey, Record] = {}
        self._read_bytes, self._lines, self._inode = 0, 0, -1
        try:
            if not path.exists():
                return
            # A device or a pipe can be read without end.
            if not (path.is_file() or path.is_dir()):
                raise UserError(f"{path}: is not a regular file; records are kept in one")
            with path.open("rb") as file:
                self._catch_up(file.fileno())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error

    @property
    def records(self) -> tuple[Record, ...]:
        """One record per key, the newest, in order of first appearance."""
        return tuple(self._records.values())

    def __contains__(self, key: RecordKey) -> bool:
        return key in self._records

    def require_writable(self) -> None:
        """Make the file if there is none, and take away a torn last line.

        Raises MissingError where the file cannot be written: before there is anything to lose.
        """
        with self._appending() as file:
            self._catch_up(file, repair=True)

    def append(self, record: Record) -> bool:
        """Add a record to the file; False where another process has added one with the same key.

        Raises MissingError where the file cannot be written.
        """
        with self._appending() as file:
            self._catch_up(file, repair=True)
            if record.key in self._records:
                return False
            self._write(file, encode(record))
        self._lines += 1
        self._records[record.key] = record
        return True

    @contextmanager
    def _appending(self) -> Iterator[int]:
        try:
            with self._locked() as file:
                yield file
        except OSError as error:
            raise MissingError(f"cannot write the records {self.path}: {error.strerror or error}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _write(self, file: int, line: bytes) -> None:
        written = os.write(file, line)
        if written != len(line):
            os.ftruncate(file, self._read_bytes)
            raise OSError(None, "the disk is full")
        self._read_bytes += written

    def _catch_up(self, file: int, repair: bool = False) -> None:
        """Read the whole lines behind those already read; `repair` what follows the last of them."""
        status = os.fstat(file)
        if status.st_ino != self._inode or status.st_size < self._read_bytes:
            self._records, self._read_bytes, self._lines, self._inode = {}, 0, 0, status.st_ino
        *lines, tail = _read(file, self._read_bytes).split(b"\n")
        if repair and tail:
            if _is_record(tail):
                lines.append(tail)
                os.write(file, b"\n")
            elif _is_torn(tail):
                os.ftruncate(file, status.st_size - len(tail))
            else:
                # What no run of ours has begun is not ours to take away.
                lines.append(tail)
        for line in lines:
            record = decode(line, f"{self.path}:{self._lines + 1}")
            self._lines += 1
            self._read_bytes += len(line) + 1
            known = self._records.get(record.key)
            self._records[record.key] = newer(known, record) if known else record


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(b"".join(map(encode, records)))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MissingError(f"cannot write {path}: {error.strerror}") from error


def device_class(device: CpuDevice) -> str:
    """The devices that share records: those that LLVM knows as one core."""
    return device.llvm.cpu


def file_name(device: CpuDevice) -> str:
    """Name of the file of a device's records."""
    return f"{device.target}-{device_class(device)}.jsonl"


def user_store_path(device: CpuDevice) -> Path:
    """Where the user's records of a device lie; MNV3C_DATA_DIR names another folder."""
    folder = os.environ.get("MNV3C_DATA_DIR") or platformdirs.user_data_dir("mnv3c")
    return Path(folder) / "tuned" / file_name(device)


def shipped_path(device: CpuDevice) -> Path:
    """Where the records of a device lie that come with the package, if there are any."""
    folder = resources.files("mnv3c.profiles")
    assert isinstance(folder, Path)
    return folder / "tuned" / file_name(device)


def known_records(device: CpuDevice, user: Path | None = None) -> tuple[Record, ...]:
    """The shipped records of a device's class and the user's own. Raises UserError where a line is not a record."""
    paths = (shipped_path(device), user or user_store_path(device))
    return merge_records(RecordStore(path).records for path in paths)


def _is_record(line: bytes) -> bool:
    try:
        decode(line, "")
    except UserError:
        return False
    return True


def _is_torn(tail: bytes) -> bool:
    """Whether a last line without an end is the beginning of a record, as a killed process leaves it."""
    return tail.startswith(_BEGINNING) or _BEGINNING.startswith(tail)


def _read(file: int, offset: int) -> bytes:
    parts = []
    while part := os.pread(file, _READ_BYTES, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
